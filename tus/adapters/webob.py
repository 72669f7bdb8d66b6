"""Tus in a view that has a WebOb request: Pyramid's, or `webob.Request(environ)` in any other WSGI framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import webob
from webob.response import EmptyResponse

from ..http.messages import Request, Response, status_line
from ..options import Options
from ..tus import Tus
from .body import Body
from .wsgi import viewed


class WebobAdapter:
    """The request of one view. Return `adapter.resp` from it; where the framework answers with `request.response`
    by itself, that is the same.

    The id is what follows `upload_path`. A view that is mounted elsewhere says which `upload_id` its route found.
    """

    undoes = False

    def __init__(self, request: Any, *, upload_id: str | None = None) -> None:
        self.req = request if isinstance(request, webob.BaseRequest) else webob.Request(request)
        self.resp = ViewResponse()
        self._id = upload_id
        self.request: Request
        self.body: Body

    def prepare(self, options: Options) -> None:
        self.request, self.body = viewed(self.req.environ, options, self._id)

    @property
    def handed_over(self) -> bool:
        return "tus.upload" in self.req.environ

    def once(self, name: str, act: Callable[[], Any]) -> Any:
        return act()

    def give(self, tus: Tus) -> None:
        """Views ask `tus.get_filepath()`."""

    def answer(self, response: Response, sent: Callable[..., None]) -> None:
        body = [response.body] if isinstance(response.body, bytes) else response.body
        self.resp = self.req.response = ViewResponse(
            status=status_line(response.status),
            headerlist=[*response.headers.items(), *response.extra],
            app_iter=Sent(body, sent),
        )
        if isinstance(response.body, bytes) and response.status not in (204, 304):
            self.resp.content_length = len(response.body)


class ViewResponse(webob.Response):  # type: ignore[misc]  # WebOb has no types
    """A response whose Location stays as it is: WebOb would put the name that the server has for itself in front of a
    path, and a path is what we say when it is not certain that clients know the server by that name."""

    status: str

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.status == status_line(204) and self.content_length:
            self.status = status_line(200)  # the view has written something, and 204 has no room for it
        start_response(self.status, self.headerlist)
        body: Iterable[bytes] = self.app_iter
        return EmptyResponse(body) if environ["REQUEST_METHOD"] == "HEAD" else body


class Sent:
    """A body that says when it was sent, which only happens if the view returned it."""

    def __init__(self, body: Iterable[bytes], sent: Callable[..., None]) -> None:
        self._body, self._sent = body, sent
        self.pauses = getattr(body, "pauses", False)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()
        self._sent(True)
