"""The host's own resources that take resumable uploads: which they are, and the request that each gets at the end.

A request that does not offer to be resumed must pass as if this module did not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ..http.messages import Response, interim_head
from ..upload import Target

Environ = dict[str, Any]
Interim = Callable[[int, Mapping[str, str]], None]

# What speaks of the connection, of the first request's body alone, or to us.
_PRIVATE = ("upload-", "tus-", "transfer-encoding", "trailer", "te", "expect", "connection", "keep-alive", "upgrade",
            "proxy-connection", "content-length", "content-digest", "want-repr-digest", "incremental")  # fmt: skip
_DISCOVERED = frozenset(("upload-limit", "accept-patch"))


class Targets:
    """The option `draft_targets`."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._requests = re.compile("|".join(map(_pattern, words)))
        self._paths = re.compile("|".join(_path(word) for word in words))

    def has(self, environ: Environ) -> bool:
        """Whether this request may be for one of them, and has to be looked at."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if method == "OPTIONS":
            return self._paths.fullmatch(path) is not None
        if "HTTP_UPLOAD_COMPLETE" not in environ and "HTTP_UPLOAD_INCOMPLETE" not in environ:
            return False
        return self._requests.fullmatch(f"{method} {path}") is not None


def _pattern(word: str) -> str:
    method, colon, path = word.rpartition(":") if re.match(r"[A-Z]+:", word) else ("", "", word)
    if not path.startswith("/"):
        return f"{path} /.*"
    return f"{method if colon else '[A-Z]+'} {_path(word)}"


def _path(word: str) -> str:
    """The part of a word that is a path, as WSGI has it."""
    path = word[word.find("/") :] if "/" in word else "/*"
    return re.escape(path.encode().decode("latin-1")).replace(r"\*", ".*")


def remembered(environ: Environ, headers: Mapping[str, str]) -> Target:
    """The request that begins an upload, without its body."""
    kept = tuple((name, headers[name]) for name in headers if headers[name] and not _private(name))
    return Target(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", ""), kept)


def _private(name: str) -> bool:
    return name.startswith(_PRIVATE[:2]) or name in _PRIVATE


def repeated(environ: Environ, target: Target, length: int) -> Environ:
    """The environ of the original request, which the target gets at last; from the present request it keeps what the
    server set, and the user."""
    new = {key: value for key, value in environ.items() if not key.startswith(("HTTP_", "CONTENT_", "tus."))}
    for name in ("RAW_URI", "REQUEST_URI"):
        new.pop(name, None)
    for name, value in target.headers:
        new["CONTENT_TYPE" if name == "content-type" else "HTTP_" + name.upper().replace("-", "_")] = value
    new["REQUEST_METHOD"], new["PATH_INFO"], new["QUERY_STRING"] = target.method, target.path, target.query
    new["CONTENT_LENGTH"] = str(length)
    return new


def discovered(answer: tuple[int, list[tuple[str, str]], bytes], environ: Environ) -> Response:
    """The application's answer to OPTIONS, for our limits to be put in; ours, if it has none. What it says to other
    origins stays as it is."""
    status, headers, body = answer
    if status >= 400 and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
        status, headers, body = 200, [], b""
    kept = tuple(pair for pair in headers if pair[0].lower() not in _DISCOVERED | {"content-length"})
    return Response(status, body=body, extra=kept)


NAMES_VERSION = "HTTP_UPLOAD_DRAFT_INTEROP_VERSION"  # in an environ: only such a client knows a 104


def interim(environ: Environ) -> Interim | None:
    """What sends an answer before the answer on this connection, if anything can."""
    if "asgi.scope" in environ:
        return environ.get("tus.interim")
    # Under HTTP/2 the socket is shared by other requests; HTTP/1.0 knows no interim responses.
    if environ.get("SERVER_PROTOCOL") != "HTTP/1.1" or environ.get("HTTP_VERSION") == "2":
        return None
    if "tus.interim" in environ:
        return environ["tus.interim"]  # type: ignore[no-any-return]
    socket = environ.get("gunicorn.socket")
    if socket is None:
        return None

    def send(status: int, headers: Mapping[str, str]) -> None:
        with suppress(OSError):  # the client is gone: reading its body will show that
            socket.sendall(interim_head(status, headers))

    return send
