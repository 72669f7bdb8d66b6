"""A server whose operators' page is asked for its uploads, with the token that `tus serve --operators` prints."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit, urlunsplit

from ..client.failures import TransferError, TransferRefused, UploadGone
from ..client.link import Link
from ..client.transfer import Pace, judge
from ..client.wire import Answer, Bytes
from ..engine.known import Summary
from ..errors import Locked, NotFound, OptionError
from .connection import link_for

T = TypeVar("T")
_PAGE = "/~tus/operators/"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_ELSEWHERE = (400, 404, 405, 412)  # what the address of uploads, of which the page is a neighbour, may answer
_HINTS = {
    403: "only operators may; `tus serve --operators` prints a link with their token, for WHERE, --token or TUS_TOKEN",
    404: "there is no operators' page, which `tus serve --operators` has",
    421: "the operators' page is not served under this name: public_url says which one is right",
}


def server_of(args: argparse.Namespace, say: Callable[[str], None]) -> OperatedServer:
    """The server that the arguments name: by the link that it prints for operators, or by where it is."""
    parts = urlsplit(args.directory)
    token = (parse_qs(parts.query).get("token") or [args.token])[0]
    base = parts.path.partition(_PAGE.rstrip("/"))[0].rstrip("/")
    pages = [urlunsplit(("", "", path + _PAGE, "", "")) for path in dict.fromkeys((base, base.rpartition("/")[0]))]
    try:
        link = link_for(args, urlunsplit((*parts[:2], "", "", "")))
    except ValueError as error:
        raise OptionError(str(error)) from None
    if token:
        # A cookie, since a server that asks for a password as well has Authorization for that.
        link.headers = {**link.headers, "Cookie": f"tus-operators={quote(token)}"}
    return OperatedServer(link, pages, retries=args.retries, say=say)


class OperatedServer:
    """Asks until there is an answer, as often as the user said."""

    def __init__(self, link: Link, pages: list[str], *, retries: int, say: Callable[[str], None]) -> None:
        """`pages` are the paths where the operators' page may be."""
        self._link, self._pages, self._retries, self._say = link, pages, retries, say

    def listed(self, bad: list[str], *, without: Container[str] = ()) -> Iterator[Summary]:
        *lines, last = self._persist(lambda: self._lines("records"))
        bad += map(str, last.get("unreadable", ()))
        for line in lines:
            upload = _read(line)
            if upload.id not in without:
                yield upload

    def one(self, id: str) -> Summary:
        return _read(self._told("record", id))

    def link(self, id: str) -> str:
        return str(self._told("link", id).get("url"))

    def remove(self, id: str, *, force: bool) -> None:
        form = {"id": id} if force else {"id": id, "unless": "written"}
        asked = 0

        def deed() -> Answer:
            nonlocal asked
            asked += 1
            return self._ask("POST", "remove", urlencode(form).encode())

        answer = self._persist(deed)
        if answer.status == 404 and asked > 1:
            return  # the answer to an earlier attempt was lost
        _object(answer)

    def sweep(self) -> Iterator[Summary]:
        told = _object(self._persist(lambda: self._ask("POST", "sweep", b"")))
        yield from map(_read, told.get("uploads", ()))

    def _told(self, action: str, id: str) -> dict[str, Any]:
        return _object(self._persist(lambda: self._ask("GET", f"{action}?{urlencode({'id': id})}")))

    def _persist(self, step: Callable[[], T]) -> T:
        try:
            return Pace(self._retries, say=self._say, sleep=time.sleep).persist(step)
        except UploadGone as error:
            raise TransferError(str(error)) from None

    def _ask(self, method: str, action: str, body: bytes | None = None, **receive: Any) -> Answer:
        """The answer, if it is one of the operators' page."""
        headers: Mapping[str, str] = {} if body is None else _FORM
        payload = None if body is None else Bytes(body)
        url = urljoin(self._link.home, self._pages[0] + action)
        answer = self._link.request(method, url, headers, body=payload, **receive)
        if answer.ok or answer.header("Content-Type").startswith("application/json"):
            return answer
        if answer.status in _ELSEWHERE and len(self._pages) > 1:
            self._pages.pop(0)
            return self._ask(method, action, body, **receive)
        where = urlsplit(url).netloc
        if answer.status in _HINTS:
            raise TransferRefused(f"{where}: {_HINTS[answer.status]}", answer.status)
        judge(answer, f"asking {where}")
        return answer

    def _lines(self, action: str) -> list[dict[str, Any]]:
        """All objects of a list, of which the last one says that there are no more."""
        received: list[bytes] = []
        answer = self._ask("GET", action, receive=lambda answer, blocks: received.extend(blocks))
        lines = [_parsed(line) for line in b"".join(received).splitlines()] if answer.ok else [_object(answer)]
        if not lines or lines[-1].get("count") != len(lines) - 1:
            raise TransferError("the list of uploads that the server sent is not whole")
        return lines


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TransferError("what the server answers is not what an operators' page of this version says")
    return found


def _object(answer: Answer) -> dict[str, Any]:
    """What the answer says, or the error that it tells."""
    found = _parsed(answer.body)
    if answer.ok:
        return found
    said = str(found.get("error", answer.status))
    kind = {404: NotFound, 409: OptionError, 423: Locked}.get(answer.status)
    raise kind(said) if kind else TransferRefused(said, answer.status)


def _read(line: Mapping[str, Any]) -> Summary:
    """One upload; what a newer server says besides is left out."""
    try:
        return Summary(**{field.name: line[field.name] for field in fields(Summary) if field.name in line})
    except TypeError:
        raise TransferError("the server says less of its uploads than this version needs") from None
