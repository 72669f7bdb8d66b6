"""The transfer of one file to one tus server: create, ask for the offset, append, and resume at the server's offset.

It never holds a file in memory, and uses no offset that the server did not send.
"""

from __future__ import annotations

import email.utils
import re
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ..http.headers import OFFSET_TYPE
from . import wire
from .connecting import NetworkError
from .failures import TransferError, TransferRefused, TryAgain, Unreachable, Unwanted, UploadGone
from .link import Link
from .meter import human
from .sources import ByteSource, Stream
from .wire import Answer, Payload

DELAYS = (0.0, 1.0, 3.0, 5.0, 10.0, 20.0)  # seconds; the first four are those of tus-js-client
MOST_DELAY = 300.0  # seconds; a Retry-After beyond this is not waited for
# Bytes of a request that are tried after a 413, from the limits of proxies and hosts that are known.
CHUNKS = (100_000_000, 10_000_000, 1_000_000, 250_000, 60_000)
# Somebody else holds the upload, we are too fast, or (460) the bytes changed on the way; and most of 5xx.
TEMPORARY = frozenset((408, 409, 423, 425, 429, 460))
FINAL = frozenset((501, 505))
GONE = frozenset((404, 410))
# What servers answer to an empty PATCH at the end, when they mean no more than "there is nothing to add".
NOTHING_TO_ADD = frozenset((400, 404, 409, 410))


T = TypeVar("T")


class Pace:
    """The waits between attempts; progress starts them over, as in tus-js-client."""

    def __init__(
        self, retries: int | Callable[[], int], *, say: Callable[[str], None], sleep: Callable[[float], None]
    ) -> None:
        self._retries = retries if callable(retries) else lambda: retries
        self._say = say
        self._sleep = sleep
        self._failures = 0
        self._furthest = 0

    def wait(self, reason: TryAgain, offset: int) -> None:
        """Wait before the next attempt, or give up."""
        if offset > self._furthest:
            self._failures, self._furthest = 0, offset
        if self._failures >= self._retries():
            raise Unreachable(str(reason))
        delay = DELAYS[min(self._failures, len(DELAYS) - 1)]
        if reason.after is not None:
            if reason.after > MOST_DELAY:
                raise Unreachable(f"{reason}; try again in {reason.after:.0f} seconds")
            delay = max(delay, reason.after)
        self._failures += 1
        self._say(f"{reason}; trying again" + (f" in {delay:g} s" if delay else ""))
        self._sleep(delay)

    def persist(self, step: Callable[[], T], offset: Callable[[], int] = lambda: 0) -> T:
        """Do it again and again while that may help; `offset` says how far it has come."""
        while True:
            try:
                return step()
            except NetworkError as error:
                if error.hopeless:
                    raise Unreachable(str(error)) from None
                self.wait(TryAgain(str(error)), offset())
            except TryAgain as error:
                self.wait(error, offset())


@dataclass
class Transfer:
    """One file on its way to one server."""

    client: Link
    source: ByteSource
    metadata: Mapping[str, bytes]
    pace: Pace
    show: Callable[[int, int | None], None]
    say: Callable[[str], None]
    headers: Mapping[str, str] = field(default_factory=dict)  # of the creation
    chunk: int | None = None
    fixed: bool = False  # the caller wants this chunk, and no other
    checksum: str | None = None
    learned: Callable[[int], None] = lambda chunk: None
    remember: Callable[[str], None] = lambda url: None
    forget: Callable[[], None] = lambda: None
    url: str | None = None
    key: str = field(default_factory=lambda: str(uuid.uuid4()))  # of the creation, so that it can be sent again
    offset: int = 0
    sent: int = 0  # what this run gave to the network, which may be more than arrived
    resumed_at: int = 0
    _resuming: bool = False
    _restarts: int = 0
    _announced: bool = False  # the server knows the length
    _trouble: bool = False  # an answer may have been lost
    _override: bool = False  # PATCH goes as POST
    _shrunk: bool = False  # the chunk is smaller than it was, and nobody knows yet whether it is small enough

    def run(self) -> str:
        """Upload everything; the URL."""
        self._resuming = self._trouble = self.url is not None
        while True:
            try:
                self.pace.persist(self._attempt, lambda: self.offset)
            except UploadGone as error:
                self._restart(error)
            except Unwanted:
                self.forget()
                raise
            else:
                self.forget()
                return self.url or ""

    def _attempt(self) -> None:
        try:
            if self.url is None:
                self._create()
            elif self._trouble:
                self._look()
            while not (self._announced and self.offset == self.source.length):
                self._append()
        except (NetworkError, TryAgain):
            self._trouble = True
            raise

    def _restart(self, reason: UploadGone) -> None:
        """Start a new upload, once: the server may have cleaned up since the last run."""
        self._restarts += 1
        if self._restarts > 1 or isinstance(self.source, Stream):
            raise TransferError(str(reason))
        self.say(f"{reason}; beginning again")
        self.url, self.key, self.offset, self._resuming = None, str(uuid.uuid4()), 0, False

    def _create(self) -> None:
        # A short stream is over before we begin, and then its length is known.
        self.source.body(0, self.chunk)
        length = self.source.length
        said = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        headers = {**said, "Idempotency-Key": f'"{self.key}"', **self.headers}
        if self.metadata:
            headers["Upload-Metadata"] = metadata_header(self.metadata)
        answer = self.client.request("POST", self.client.home, headers, body=wire.Bytes())
        if length is None and answer.status in (400, 501):
            raise TransferError(f"the server takes no stream of unknown length ({answer}): write it to a file first")
        if answer.status in GONE and not last_word(answer):
            raise TransferRefused(f"no tus server at {self.client.home}: it answers {answer}", answer.status)
        judge(answer, "creating the upload")
        if not answer.header("Location"):
            raise TransferError(f"no tus server at {self.client.home}: it answers {answer.status} and no Location")
        try:
            self.url = wire.located(self.client.home, answer.header("Location"))
        except ValueError as error:
            raise TransferError(f"the server names no usable upload URL: {error}") from None
        # It may have more already, if this was sent before.
        self.offset = min(answer.natural("Upload-Offset") or 0, length or 0)
        self._announced, self._trouble = length is not None, False
        self.remember(self.url)
        self.show(self.offset, length)

    def _look(self) -> None:
        """Ask the server what it has."""
        assert self.url is not None
        answer = self.client.request("HEAD", self.url, {})
        if last_word(answer):
            self._why(answer)
        # tus 1.0, HEAD: 404, 410 or 403 for an upload that is not there.
        if answer.status in GONE or (answer.status == 403 and self._resuming):
            if answer.status in GONE:
                self.forget()
            raise UploadGone(f"the server no longer has the upload ({answer.status})")
        judge(answer, "asking how far the upload is")
        offset, length = answer.natural("Upload-Offset"), answer.natural("Upload-Length")
        known = self.source.length
        if offset is None:
            raise UploadGone(f"{self.url} is not an upload: its answer has no Upload-Offset")
        if known is not None and (offset > known or length not in (None, known)):
            raise UploadGone(f"{self.url} is an upload of another size")
        if self._resuming:
            self._resuming, self.resumed_at = False, offset
            self.say(f"resuming at {human(offset)}")
        self.offset, self._announced, self._trouble = offset, length is not None, False
        self.show(offset, known)
        if offset == known and length is not None and known:
            self._confirm()

    def _why(self, answer: Answer) -> None:
        """Refused, as the answer to HEAD says; why that is, is in another one's body."""
        self.offset = self.source.length or 0
        told = self._patch(wire.Bytes(), {})
        judge(told if last_word(told) else answer, "asking how far the upload is")

    def _confirm(self) -> None:
        """Everything is there, but what came of it was in an answer that we never got."""
        answer = self._patch(wire.Bytes(), {})
        if answer.status not in NOTHING_TO_ADD or last_word(answer):
            judge(answer, "finishing the upload")

    def _append(self) -> None:
        body = self.source.body(self.offset, self.chunk)
        headers = {}
        if not self._announced and self.source.length is not None:
            headers["Upload-Length"] = str(self.source.length)
        if self.checksum:
            digest = b64encode(self.source.digest(body, self.checksum)).decode("ascii")
            headers["Upload-Checksum"] = f"{self.checksum} {digest}"
        answer = self._patch(body, headers)
        if answer.status == 413 and not last_word(answer) and self._shrink(body.length):
            self._look()  # some of it may have been taken
            return
        judge(answer, f"sending from byte {self.offset}")
        if self._shrunk and self.chunk:
            self._shrunk = False
            self.learned(self.chunk)
        offset = answer.natural("Upload-Offset")
        if offset is None or not self.offset <= offset <= self.offset + body.length:
            raise TryAgain("the server does not say how far the upload is")
        if body.length and offset == self.offset:
            raise TryAgain("the server took nothing")
        self.offset = offset
        self._announced = self._announced or self.source.length is not None
        self.show(offset, self.source.length)

    def _shrink(self, length: int) -> bool:
        """Send less at once from now on, if that can be."""
        smaller = next((chunk for chunk in CHUNKS if chunk < length), None)
        if self.fixed or smaller is None:
            return False
        self.say(f"a request of {human(length)} is too large there; trying {human(smaller)}")
        self.chunk, self._shrunk = smaller, True
        return True

    def _patch(self, body: Payload, headers: dict[str, str]) -> Answer:
        assert self.url is not None
        headers = {**headers, "Upload-Offset": str(self.offset), "Content-Type": OFFSET_TYPE}
        answer = self._send(body, headers)
        if answer.status in (405, 501) and not self._override:
            # Something on the way does not let PATCH through: the protocol has another way to say it.
            self._override = True
            second = self._send(body, headers)
            return second if second.ok else answer
        return answer

    def _send(self, body: Payload, headers: dict[str, str]) -> Answer:
        def progress(sent: int) -> None:
            self.sent = self.offset + sent
            self.show(self.sent, self.source.length)

        assert self.url is not None
        method = "POST" if self._override else "PATCH"
        if self._override:
            headers = {**headers, "X-HTTP-Method-Override": "PATCH"}
        return self.client.request(method, self.url, headers, body=body, progress=progress)


def judge(answer: Answer, doing: str) -> None:
    """Raise what an answer without success means for the upload."""
    if answer.ok:
        return
    if last_word(answer):
        text = f"the host refuses this upload: {answer}; the same command starts a new upload"
        raise Unwanted(text, answer.status)
    if 300 <= answer.status < 400:
        target = wire.printable(answer.header("Location")) or "nowhere"
        raise TransferError(f"{doing}: the server redirects to {target}; if that is right, give that URL")
    said = f"{doing}: the server answers {answer}"
    if answer.status in GONE:
        raise UploadGone(said)
    if answer.status in TEMPORARY or (answer.status >= 500 and answer.status not in FINAL):
        raise TryAgain(said, retry_after(answer.header("Retry-After"), now=time.time()))
    raise TransferRefused(said + HINTS.get(answer.status, ""), answer.status)


def last_word(answer: Answer) -> bool:
    """Whether the host has decided against the upload. Without this header, it may be this request that was wrong."""
    return 400 <= answer.status < 500 and answer.header("Upload-Complete") == "?1"


HINTS = {
    401: " (credentials: --user NAME:PASSWORD, TUS_LOGIN, ~/.netrc, or --header 'Authorization: ...')",
    412: " (the server, or a proxy before it, does not see that we speak tus 1.0.0)",
    413: " (if the limit is on one request, a smaller --chunk-size helps; `tus check` tells)",
}


def retry_after(value: str, *, now: float) -> float | None:
    """Seconds until the time that Retry-After names, as a number or as a date."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def metadata_header(metadata: Mapping[str, bytes]) -> str:
    """An Upload-Metadata header."""
    pairs = ((key, b64encode(value).decode("ascii")) for key, value in metadata.items())
    return ",".join(f"{key} {value}".strip() for key, value in pairs)
