"""The questions of `tus check` about addresses, headers and permission; and the order of all questions."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from ..client import wire
from ..client.connecting import NetworkError
from ..client.meter import human
from ..client.wire import Answer
from . import advice
from .bodies import chunked, conflict, expecting, hanging, patching, resuming, sending, trailing
from .ietf import ietf
from .visit import Finding, Findings, Probe, Stop, Visit, elements
from .windows import http2

SMALLEST = 16 << 10  # bytes that the questions need to send without finishing an upload
METADATA = {"filename": b"tus-check.bin", "empty": b""}

# What a browser asks leave for when tus-js-client or Uppy uploads.
NEEDED_METHODS = ("PATCH", "DELETE")  # GET, HEAD and POST need no leave
NEEDED_HEADERS = ("tus-resumable", "upload-length", "upload-offset", "upload-metadata", "content-type")
USED_HEADERS = (
    "upload-defer-length",
    "upload-concat",
    "upload-checksum",
    "x-http-method-override",
    "x-request-id",
)
NEEDED_EXPOSED = ("location", "upload-offset", "upload-length")


def greeting(visit: Visit) -> Findings:
    """OPTIONS: is there a tus server at all?"""
    answer = visit.ask("OPTIONS", visit.url)
    if 300 <= answer.status < 400:
        target = wire.printable(answer.header("Location"))
        yield Finding("server", "fault", f"the URL redirects to {target}", advice.REDIRECT)
        raise Stop
    visit.extensions = tuple(answer.header("Tus-Extension").replace(" ", "").split(","))
    if (most := answer.natural("Tus-Max-Size")) is not None:
        visit.length = min(visit.length, most)
    version = answer.header("Tus-Version")
    if wire.VERSION in version.replace(" ", "").split(","):
        text = f"tus {version}, extensions: {' '.join(filter(None, visit.extensions)) or 'none'}"
        yield Finding("server", "ok", wire.printable(text))
        return
    # A proxy may answer OPTIONS by itself, so the server gets another chance at creation.
    hint = advice.OPTIONS_LOGIN if answer.status in (401, 403) else advice.OPTIONS
    yield Finding("server", "fault", f"OPTIONS is answered {answer.status} without Tus-Version", hint)


def preflight(visit: Visit) -> Findings:
    """CORS: what a browser asks before it lets a page upload."""
    wanted = ",".join((*NEEDED_HEADERS, *USED_HEADERS))
    asked = {
        "Origin": visit.origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": wanted,
    }
    if "Authorization" in visit.client.headers:
        asked["Access-Control-Request-Headers"] += ",authorization"
    answer = visit.ask_as_nobody("OPTIONS", visit.url, asked)
    if answer.status in (401, 403):
        text = f"the preflight, which browsers send without a login, is answered {answer.status}"
        yield Finding("cors", "fault", text, advice.OPTIONS_LOGIN)
        return
    origins = answer.headers.get_all("Access-Control-Allow-Origin", [])
    if not origins:
        level = "fault" if visit.origin_matters else "note"
        text = f"pages from other origins (tried {visit.origin}) may not upload"
        yield Finding("cors", level, text, advice.CORS_OFF)
        return
    missing = _not_allowed(answer)
    if len(origins) > 1:
        yield Finding("cors", "fault", "Access-Control-Allow-Origin is there twice", advice.CORS_TWICE)
    elif origins[0] not in ("*", visit.origin):
        text = f"only pages from {wire.printable(origins[0])} may upload, not from {visit.origin}"
        yield Finding("cors", "fault" if visit.origin_matters else "note", text, advice.CORS_OFF)
    elif not answer.ok:
        yield Finding("cors", "fault", f"the preflight is answered {answer.status}", advice.OPTIONS_LOGIN)
    elif missing:
        text = f"the preflight does not allow {', '.join(missing)}"
        yield Finding("cors", "fault", text, advice.cors_allow(missing))
    else:
        yield Finding("cors", "ok", f"a browser may upload from {visit.origin}")


def _not_allowed(answer: Answer) -> list[str]:
    methods = elements(answer.header("Access-Control-Allow-Methods"))
    headers = elements(answer.header("Access-Control-Allow-Headers"))
    missing = [name for name in NEEDED_METHODS if name.lower() not in methods and "*" not in methods]
    return missing + [name for name in NEEDED_HEADERS if name not in headers and "*" not in headers]


def creation(visit: Visit) -> Findings:
    """POST: can an upload be created, and does our version header get through?"""
    pairs = (f"{key} {b64encode(value).decode()}".strip() for key, value in METADATA.items())
    headers = {"Upload-Metadata": ",".join(pairs)}
    if visit.length < SMALLEST:
        text = f"the server takes no more than {human(visit.length)}: too little to ask anything"
        yield Finding("max-size", "note", text)
        raise Stop
    asked = visit.length
    for visit.length in (asked, 10**8, 10**6):
        if visit.length > asked:
            continue
        answer = visit.ask("POST", visit.url, {**headers, "Upload-Length": str(visit.length)}, b"")
        if answer.status != 413:
            break
    if visit.length < asked:
        text = f"an upload of {human(asked)} is refused ({answer}), and no Tus-Max-Size announces it"
        yield Finding("max-size", "note", text, advice.MAX_SIZE)
    visit.location = answer.header("Location")
    if answer.status == 412:
        yield Finding("version", "fault", f"POST is answered {answer}", advice.VERSION_REQUEST)
    elif not answer.ok:
        yield Finding("create", "fault", f"POST is answered {answer}", advice.create(answer.status, visit.url))
    elif not visit.location:
        yield Finding("create", "fault", f"POST is answered {answer.status} without Location", advice.OPTIONS)
    else:
        yield from _created(answer)
        return
    raise Stop


def _created(answer: Answer) -> Findings:
    if answer.status == 201:
        yield Finding("create", "ok", "an upload can be created")
    else:
        yield Finding("create", "note", f"POST is answered {answer.status}, not 201")
    if answer.header("Tus-Resumable") == wire.VERSION:
        yield Finding("version", "ok", "Tus-Resumable gets through both ways")
    else:
        yield Finding("version", "fault", "the answer has no Tus-Resumable", advice.VERSION_ANSWER)


def location(visit: Visit) -> Findings:
    """Does the URL that the server gives work from here?"""
    try:
        given, _ = wire.endpoint(urljoin(visit.url, visit.location))
    except ValueError as error:
        yield Finding("location", "fault", f"Location is not a URL: {wire.printable(str(error))}", advice.PUBLIC)
        raise Stop from None
    shown = wire.printable(visit.location)
    url, faults = given, 0
    for finding, corrected in _wrong_address(visit, given):
        url, faults = corrected, faults + (finding.level == "fault")
        yield finding
    if not _is_upload(visit, url):
        last = urlsplit(url).path.rstrip("/").rpartition("/")[2]
        guess = urlsplit(url)._replace(path=urlsplit(visit.url).path.rstrip("/") + "/" + last).geturl()
        if guess == url or not _is_upload(visit, guess):
            text = f"there is no upload at the Location that was given ({shown})"
            yield Finding("location", "fault", text, advice.vanished(visit.server))
            raise Stop
        text = f"Location has the wrong path ({shown}): the upload is at {guess}"
        yield Finding("location", "fault", text, advice.PREFIX)
        url, faults = guess, faults + 1
    visit.upload = url
    if not faults:
        yield Finding("location", "ok", f"the upload is where Location says ({shown})")


def _wrong_address(visit: Visit, given: str) -> Iterator[tuple[Finding, str]]:
    came, told = urlsplit(visit.url), urlsplit(given)
    corrected = told._replace(scheme=came.scheme, netloc=came.netloc).geturl()
    if came.scheme == "https" and told.scheme == "http":
        text = f"Location is http:// although you came by https:// ({wire.printable(visit.location)})"
        yield Finding("location", "fault", text, advice.SCHEME), corrected
    elif came.netloc == told.netloc:
        return
    elif came.hostname == told.hostname or _inside(told.hostname) or not _is_upload(visit, given):
        text = f"Location names {told.netloc}, but you came by {came.netloc}"
        yield Finding("location", "fault", text, advice.HOST), corrected
    else:
        text = f"Location names another host ({told.netloc}), and it works from here"
        yield Finding("location", "note", text, advice.HOST), given


def _inside(host: str | None) -> bool:
    """Whether the host can only be meant for machines near the server."""
    with suppress(ValueError):
        return ipaddress.ip_address(host or "").is_private
    return host is None or "." not in host


def _is_upload(visit: Visit, url: str) -> bool:
    with suppress(NetworkError):
        answer = visit.ask("HEAD", url)
        return answer.ok and answer.natural("Upload-Offset") is not None
    return False


def asking(visit: Visit) -> Findings:
    """HEAD: is the answer complete, always the same, and never from a cache?"""
    answers = [visit.ask("HEAD", visit.upload) for _ in range(4)]
    failed = [answer.status for answer in answers if not answer.ok]
    if failed:
        text = f"{len(failed)} of {len(answers)} HEAD requests are answered {failed[0]}"
        yield Finding("head", "fault", text, advice.vanished(visit.server))
        return
    answer = answers[-1]
    wanted = {"Upload-Offset": "0", "Upload-Length": str(visit.length)}
    wrong = [name for name, value in wanted.items() if answer.header(name) != value]
    if wrong:
        told = ", ".join(f"{name}: {wire.printable(answer.header(name)) or 'nothing'}" for name in wrong)
        yield Finding("head", "fault", f"HEAD of an empty upload says {told}", advice.HEAD)
    else:
        yield Finding("head", "ok", "HEAD tells offset and length")
    fetched = visit.ask("GET", visit.upload)  # which some caches make of a HEAD
    if said := _cacheable(answer) or _aged("GET", fetched):
        yield Finding("cache", "fault", said, advice.cache(visit.server))
    else:
        yield Finding("cache", "ok", "HEAD may not be cached")


def _cacheable(answer: Answer) -> str:
    """What shows that a cache has answered a HEAD, or may."""
    said = wire.printable(answer.header("Cache-Control")) or "nothing"
    fresh = "no-store" in elements(answer.header("Cache-Control"))
    return _aged("HEAD", answer) or ("" if fresh else f"HEAD says Cache-Control {said}")


def _aged(method: str, answer: Answer) -> str:
    """`Age: 0` is what a cache says that has just asked."""
    return f"{method} says Age {answer.natural('Age')}, so a cache has answered" if answer.natural("Age") else ""


def sharing(visit: Visit) -> Findings:
    """CORS on the answers themselves: a browser hides what is not exposed."""
    answer = visit.ask("HEAD", visit.upload, {"Origin": visit.origin})
    if not answer.header("Access-Control-Allow-Origin"):
        return  # the preflight has said it
    exposed = elements(answer.header("Access-Control-Expose-Headers"))
    missing = [name for name in NEEDED_EXPOSED if name not in exposed and "*" not in exposed]
    if missing:
        text = f"pages of other origins cannot read {', '.join(missing)}"
        yield Finding("cors-expose", "fault", text, advice.cors_expose(missing))
    else:
        yield Finding("cors-expose", "ok", "pages of other origins can read the headers they need")


def removal(visit: Visit) -> Findings:
    """DELETE, which is also how we clean up."""
    if not visit.upload:
        return
    announced = "termination" in visit.extensions
    answer = visit.ask("DELETE", visit.upload)
    if answer.ok:
        gone = visit.ask("HEAD", visit.upload).status
        if gone in (403, 404, 410) or visit.stale:
            yield Finding("delete", "ok", "DELETE removes an upload (the one that this check made is gone)")
        else:
            text = f"DELETE is answered {answer.status}, but HEAD then says {gone}; left behind: {visit.upload}"
            yield Finding("delete", "fault", text, advice.cache(visit.server))
        return
    text = f"DELETE is answered {answer}" if announced else "the server does not offer DELETE"
    if announced and visit.ask("POST", visit.upload, {"X-HTTP-Method-Override": "DELETE"}, b"").ok:
        text += "; POST with X-HTTP-Method-Override gets through"
    else:
        text += f"; left behind, unfinished: {visit.upload}"
    yield Finding("delete", "fault" if announced else "note", text, advice.DELETE if announced else "")


# The order matters: each may use what those before it have found out.
PROBES: dict[str, Probe] = {
    "server": greeting,
    "cors": preflight,
    "create": creation,
    "location": location,
    "head": asking,
    "cors-expose": sharing,
    "patch": patching,
    "busy": hanging,
    "resume": resuming,
    "send": sending,
    "conflict": conflict,
    "chunked": chunked,
    "trailers": trailing,
    "expect": expecting,
    "ietf": ietf,
    "http2": http2,
}
