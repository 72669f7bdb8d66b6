"""The questions of `tus check` about requests with a body: what gets through, and what is left when it breaks."""

from __future__ import annotations

import base64
import os
import time
from contextlib import suppress

from ..client import wire
from ..client.connecting import NetworkError
from ..client.meter import human
from ..client.wire import Bytes, Connection
from . import advice
from .visit import LARGE, LITTLE, WHOLE, Finding, Findings, Stop, Visit

HUNG = 1 << 20  # bytes sent of a request that is then left hanging
SETTLE = 0.7  # seconds for bytes to get through, or for a refusal to get back
LATE = 1.0  # seconds in which a server that stores now and then has stored
AFTERMATH = 3.0  # seconds in which a server has noticed that a connection is gone
DISTURBED = 0.7  # seconds in which an upload ends that something has ended
LIMITS = (400, 413, 500, 502)  # what is said of a body that is too large
SEARCH = 5.0  # seconds for the exact limit of a request
COMING = 1.5  # seconds in which 100 Continue must come; curl waits one
QUICK = 0.8  # seconds for the first body, if ten times as much is sent then
PATIENCE = 6.0  # seconds a client can be expected to wait for a busy upload


def patching(visit: Visit) -> Findings:
    """PATCH: does it get through, or only in disguise?"""
    problem = ""
    try:
        answer = visit.patch(LITTLE)
        if answer.status == 412:
            yield Finding("version", "fault", f"PATCH is answered {answer}", advice.VERSION_REQUEST)
            raise Stop
        problem = "" if answer.ok else f"PATCH is answered {answer}"
    except NetworkError as error:
        problem = f"PATCH fails: {error}"
    if problem:
        visit.override = True
        if not _patch_anew(visit):
            yield Finding("patch", "fault", problem, advice.PATCH)
            raise Stop
        text = f"{problem}; POST with X-HTTP-Method-Override gets through"
        yield Finding("patch", "fault", text, advice.PATCH)
    else:
        yield Finding("patch", "ok", "PATCH gets through")
        yield _disguise(visit)
    said = visit.offset
    if visit.look().natural("Upload-Offset") != said:
        text = f"PATCH said offset {said}, HEAD then says {visit.offset}: nothing further can be asked"
        yield Finding("cache", "fault", text, advice.cache(visit.server))
        visit.stale = True
        raise Stop


def _patch_anew(visit: Visit) -> bool:
    """PATCH where the upload stands; twice, because the failed request may still move it."""
    for _ in range(2):
        visit.look()
        if visit.patch(LITTLE).ok:
            return True
    return False


def _disguise(visit: Visit) -> Finding:
    visit.override = True
    try:
        if visit.patch(LITTLE).ok:
            return Finding("override", "ok", "PATCH works as POST with X-HTTP-Method-Override, too")
    except NetworkError:
        pass
    finally:
        visit.override = False
    text = "PATCH does not work as POST with X-HTTP-Method-Override"
    return Finding("override", "note", text, advice.OVERRIDE)


def hanging(visit: Visit) -> Findings:
    """A PATCH that stops in the middle: what becomes of its bytes, and who may come in meanwhile?"""
    start, (connection, finding) = visit.offset, _hang(visit)
    yield finding
    if connection is None:
        return
    sent = min(HUNG, visit.passes // 2)
    try:
        yield _reader(visit, connection)
        yield _newcomer(visit)
        _wait_for_more(visit, start, seconds=LATE)
    finally:
        connection.close()
    _wait_for_more(visit, start, seconds=AFTERMATH)
    kept = visit.offset - start
    text = f"of {human(sent)} in a request that was cut, {human(kept)} were kept"
    if not kept:
        yield Finding("buffering", "fault", text, advice.buffering(visit.server))
    elif kept < sent // 2:
        yield Finding("buffering", "note", text, advice.LOSS)
    else:
        yield Finding("buffering", "ok", text)


def _hang(visit: Visit) -> tuple[Connection | None, Finding]:
    """Announce as much as may be announced, send the beginning of it, and leave it there."""
    room = visit.length - visit.offset - visit.length // 4  # the rest is for what is asked later
    refused, announced, said, finding = 0, room, 413, None
    while announced > LITTLE:
        connection = visit.begin_patch(announced)
        began = time.monotonic()
        connection.send(Bytes(os.urandom(min(HUNG, announced // 2))))
        visit.rate = int(HUNG / max(time.monotonic() - began, 0.001))
        status = connection.interim(SETTLE)
        if status in (None, 100) and refused and not finding:
            connection.close()
            visit.look()
            announced, finding = _limit(visit, announced, refused, said)
            continue  # as much as gets through
        if status in (None, 100):
            visit.passes = announced
            return connection, finding or Finding("size", "ok", f"a request may announce {human(announced)}")
        connection.close()
        if status not in LIMITS:
            text = f"a PATCH is answered {status} before its body was sent"
            return None, Finding("size", "fault", text, advice.EARLY)
        refused, announced, said = announced, announced // 4, status
        visit.look()  # what was refused late may have left some bytes
    return None, Finding(
        "size",
        "fault",
        f"a request of {human(refused)} is answered {said}, and so are larger ones",
        advice.limit(visit.server),
    )


def _limit(visit: Visit, passed: int, refused: int, said: int) -> tuple[int, Finding]:
    """How much gets through, to the byte where announcing it is enough to be refused and there is time."""
    low, high = passed, refused
    end = time.monotonic() + SEARCH
    while high - low > 1 and time.monotonic() < end:
        middle = (low + high) // 2
        if _is_refused(visit, middle):
            high = middle
        else:
            low = middle
    if high == refused:  # it is found out only by sending
        low, text = passed, f"a request of {human(refused)} is refused with {said}; one of {human(passed)} is not"
    elif high - low > 1:
        text = f"a request of {human(high)} is refused with {said}; one of {human(low)} is not"
    else:
        text = f"a request of {low:,} bytes gets through, and a larger one is refused with {said}"
    return low, Finding("size", "fault", text, advice.limit(visit.server))


def _is_refused(visit: Visit, length: int) -> bool:
    """Whether the announcement of a body is answered with its refusal, before any of it is sent."""
    connection = visit.begin_patch(length, Expect="100-continue")
    try:
        return connection.interim(SETTLE) in LIMITS
    finally:
        connection.close()


def _reader(visit: Visit, connection: Connection) -> Finding:
    """A GET of a range, as by a player that does not wait: the upload beside it must go on."""
    try:
        said = str(visit.ask("GET", visit.upload, {"Range": "bytes=0-99"}, plain=True).status)
    except NetworkError:
        said = "nothing"  # which harms no upload
    connection.send(Bytes(os.urandom(LITTLE)))
    ended = connection.interim(DISTURBED)
    if ended in (None, 100):
        return Finding("reader", "ok", f"a GET of a range beside an upload is answered {said}, and the upload goes on")
    text = f"a GET of a range (answered {said}) ends the upload beside it, which is answered {ended}"
    return Finding("reader", "fault", text, advice.READER)


def _newcomer(visit: Visit) -> Finding:
    """HEAD, as by a client whose connection is lost while the server still believes in it."""
    began, said = time.monotonic(), "nothing"
    while (waited := time.monotonic() - began) < PATIENCE:
        try:
            answer = visit.look()
        except NetworkError as error:
            said = str(error)
            continue
        if answer.ok:
            waited = time.monotonic() - began
            level, hint = ("note", advice.BUSY) if waited > 1 else ("ok", "")
            text = f"HEAD is answered in {waited:.2f} s while an older PATCH hangs"
            return Finding("busy", level, text, hint)
        said = f"it says {answer}"
        time.sleep(0.1)
    text = f"HEAD is not answered within {PATIENCE:g} s while an older PATCH hangs ({said})"
    return Finding("busy", "fault", text, advice.BUSY)


def _wait_for_more(visit: Visit, start: int, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while visit.offset == start:
        with suppress(NetworkError):
            visit.look()
        if time.monotonic() > end:
            return
        time.sleep(0.1)


def resuming(visit: Visit) -> Findings:
    """PATCH at the offset that HEAD told."""
    end = time.monotonic() + PATIENCE
    visit.look()
    start = visit.offset
    while (answer := visit.patch(LITTLE)).status == 423 and time.monotonic() < end:
        time.sleep(0.1)
    if answer.ok and visit.offset == start + LITTLE:
        yield Finding("resume", "ok", f"the upload resumes at {human(start)}")
        return
    said = f"{answer}, Upload-Offset {wire.printable(answer.header('Upload-Offset')) or 'missing'}"
    yield Finding("resume", "fault", f"going on at {start} is answered {said}", advice.RESUME)


def sending(visit: Visit) -> Findings:
    """One request with a whole body, as large as the line can carry in a short time."""
    most = min(visit.passes, visit.length // 8)
    count = max(LITTLE, min(WHOLE, most, visit.rate * 3))
    began = time.monotonic()
    finding = _sent(visit, count)
    if finding.level == "ok" and most >= LARGE and time.monotonic() - began < QUICK:
        larger = _sent(visit, LARGE)
        finding = larger if larger.level == "ok" else Finding("size", "fault", larger.text, advice.limit(visit.server))
    yield finding


def _sent(visit: Visit, count: int) -> Finding:
    visit.look()
    start, answer = visit.offset, visit.patch(count)
    if answer.ok and visit.offset == start + count:
        return Finding("send", "ok", f"{human(count)} in one request arrive")
    if answer.status == 413:
        text = f"{human(count)} in one request are refused: {answer}"
        return Finding("size", "fault", text, advice.limit(visit.server))
    return Finding("send", "fault", f"{human(count)} in one request are answered {answer}", advice.SEND)


def conflict(visit: Visit) -> Findings:
    """A PATCH at a wrong offset: the refusal must reach the client, a browser too."""
    visit.look()
    right = visit.offset
    answer = visit.patch(min(1 << 18, visit.length // 8), offset=right + 1, Origin=visit.origin)
    visit.look()
    if answer.status != 409 or visit.offset != right:
        text = f"a PATCH at a wrong offset is answered {answer} and adds {visit.offset - right} bytes"
        yield Finding("conflict", "fault", text, advice.CONFLICT)
        return
    yield Finding("conflict", "ok", "a PATCH at a wrong offset is refused with 409")
    shared = visit.ask("HEAD", visit.upload, {"Origin": visit.origin}).header("Access-Control-Allow-Origin")
    if shared and not answer.header("Access-Control-Allow-Origin"):
        yield Finding("cors-errors", "fault", "CORS headers are missing on errors", advice.CORS_ERRORS)


def chunked(visit: Visit) -> Findings:
    """A body of unknown length, as some programs send it."""
    visit.look()
    start, count = visit.offset, 2 * LITTLE
    connection = visit.begin_patch(None)
    try:
        piece = b"%x\r\n%s\r\n" % (LITTLE, os.urandom(LITTLE))
        connection.send(Bytes(piece * 2 + b"0\r\n\r\n"))
        said = str(connection.answer("PATCH"))
    except NetworkError as error:
        said = str(error)
    finally:
        connection.close()
    visit.look()
    if visit.offset == start + count:
        yield Finding("chunked", "ok", "bodies of unknown length (chunked) arrive")
    elif visit.offset == start:
        yield Finding("chunked", "note", f"bodies of unknown length (chunked) are refused: {said}", advice.CHUNKED)
    else:
        text = f"{count} bytes sent chunked became {visit.offset - start}"
        yield Finding("chunked", "fault", text, advice.CHUNKED_WRONG)


def trailing(visit: Visit) -> Findings:
    """Trailers: is a checksum that comes behind the body compared?"""
    if "checksum" not in visit.extensions:
        return
    announced = "checksum-trailer" in visit.extensions
    visit.look()
    said = _wrong_trailer(visit)
    if said == 460:
        yield Finding("trailers", "ok", "a checksum in a trailer is compared")
    elif said and 200 <= said < 300:
        text = f"a wrong checksum in a trailer is accepted ({said}): it is dropped on the way"
        yield Finding("trailers", "fault" if announced else "note", text, advice.trailers(visit.server))
    elif announced:
        text = f"checksum-trailer is announced, and such a body is answered {said or 'by nothing'}"
        yield Finding("trailers", "fault", text, advice.trailers(visit.server))
    else:
        text = f"checksums in trailers are neither announced nor accepted ({said or 'no answer'})"
        yield Finding("trailers", "ok", text)


def _wrong_trailer(visit: Visit) -> int | None:
    """The status for a body whose checksum comes behind it, and is another one's."""
    connection = visit.begin_patch(None, Trailer="Upload-Checksum", TE="trailers")
    piece = b"%x\r\n%s\r\n" % (LITTLE, os.urandom(LITTLE))
    wrong = base64.b64encode(bytes(20))
    try:
        connection.send(Bytes(piece + b"0\r\nUpload-Checksum: sha1 " + wrong + b"\r\n\r\n"))
        return connection.answer("PATCH").status
    except NetworkError:
        return None
    finally:
        connection.close()


def expecting(visit: Visit) -> Findings:
    """Expect: 100-continue, as curl and others send it before a body."""
    visit.look()
    connection = visit.begin_patch(LITTLE, Expect="100-continue")
    try:
        first = connection.interim(COMING)
        if first in (None, 100):
            connection.send(Bytes(os.urandom(LITTLE)))
        answer = connection.answer("PATCH")
    finally:
        connection.close()
    if not answer.ok:
        text = f"a request with Expect: 100-continue is answered {answer}"
        yield Finding("expect", "fault", text, advice.EXPECT)
    elif first is None:
        text = "Expect: 100-continue gets no 100; the body alone is answered"
        yield Finding("expect", "note", text, advice.EXPECT_SILENT)
    else:
        yield Finding("expect", "ok", "Expect: 100-continue is understood")
