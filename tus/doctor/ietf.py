"""The questions of `tus check` about the IETF protocol, which phones speak, and about the 104 that they need."""

from __future__ import annotations

import os

from ..client.connecting import NetworkError
from ..client.wire import Answer, Bytes
from . import advice
from .recognised import names
from .visit import LITTLE, Finding, Findings, Visit

NUMBERS = range(3, 11)  # of the versions for interoperation that there are
SPOKEN = 6  # what iOS 18 to 26 name
COMING = 1.5  # seconds in which a 104 comes that was sent before the body
NUMBER = "Upload-Draft-Interop-Version"


def ietf(visit: Visit) -> Findings:
    """The IETF protocol: does the server speak it, in which versions, and does a 104 arrive?"""
    early, answer = _created(visit)
    interim = "at once" if early == 104 else "late" if 104 in answer.interim else ""
    url = visit.absolute(answer.header("Location"))
    if not (answer.ok or interim) or not url:
        text = f"the IETF protocol is not spoken (a creation is answered {answer.status}): phones cannot resume"
        yield Finding("ietf", "note", text, advice.IETF)
        return
    echoed = [number for number in NUMBERS if _echoes(visit, url, number)]
    versions = ", ".join(map(str, echoed)) or "not echoed"
    yield Finding("ietf", "ok", f"the IETF protocol is spoken; interop versions: {versions}")
    yield from _judged(visit, interim)
    visit.ask("DELETE", url, {NUMBER: str(SPOKEN)}, plain=True)


def _created(visit: Visit) -> tuple[int | None, Answer]:
    """An upload that is never finished, and the first status that came before its body had ended."""
    fields = {"Upload-Complete": "?0", NUMBER: str(SPOKEN), "Content-Length": str(2 * LITTLE)}
    connection = visit.client.connect(visit.url)
    try:
        connection.begin("POST", visit.url, {**visit.plain_headers, **fields})
        connection.send(Bytes(os.urandom(LITTLE)))
        early = connection.interim(COMING)
        connection.send(Bytes(os.urandom(LITTLE)))
        return early, connection.answer("POST")
    finally:
        connection.close()


def _echoes(visit: Visit, url: str, number: int) -> bool:
    try:
        answer = visit.ask("HEAD", url, {NUMBER: str(number)}, plain=True)
    except NetworkError:
        return False
    return answer.ok and answer.header(NUMBER) == str(number)


def _judged(visit: Visit, interim: str) -> Findings:
    """What becomes of a 104. Phones offer nothing to be resumed over plain HTTP, so that none is missing there."""
    if interim and "nginx" in names(visit.server):
        text = "a 104 comes through nginx, which takes it for the final answer where a client speaks HTTP/2"
        yield Finding("interim", "fault", text, advice.INTERIM_BROKEN)
    elif interim == "at once":
        yield Finding("interim", "ok", "a 104 comes before the body has ended: phones can resume")
    elif interim:
        yield Finding("interim", "note", "a 104 comes when the body is over: too late for phones", advice.INTERIM_LATE)
    elif visit.url.startswith("https:"):
        yield Finding("interim", "note", "no 104 comes: phones cannot resume", advice.interim_hint(visit.server))
