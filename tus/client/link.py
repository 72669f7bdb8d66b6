"""Requests to the servers of one upload address: the headers that each gets, and a connection that is used again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .connecting import Clock, Dial, NetworkError, Trust
from .pacing import Rate
from .wire import VERSION, Answer, Connection, Payload, Receiver, same_host


@dataclass(eq=False)
class Link:
    """Requests to tus servers; keeps the last connection open for the next request. One thread uses it at a time."""

    home: str  # the URL that the user gave: credentials go to its host only
    headers: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    trust: Trust = field(default_factory=Trust)
    rate: Rate | None = None
    _open: tuple[str, Connection] | None = None
    _aborted: bool = False
    _dial: Dial = field(default_factory=Dial)

    def headers_for(self, method: str, url: str, extra: Mapping[str, str]) -> dict[str, str]:
        """The headers that every request to this URL has, and those of this one."""
        own = dict(self.headers)
        if not same_host(self.home, url):
            own = {}  # any of them may be a key
        # tus 1.0, OPTIONS: the client should not send Tus-Resumable. A GET is for the file.
        version = {} if method in ("OPTIONS", "GET") else {"Tus-Resumable": VERSION}
        return {"User-Agent": "tus-cli", "Accept": "*/*", **version, **own, **extra}

    def connect(self, url: str) -> Connection:
        return Connection(url, self.clock, trust=self.trust, rate=self.rate, dial=self._dial)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: Payload | None = None,
        progress: Callable[[int], None] | None = None,
        receive: Receiver | None = None,
    ) -> Answer:
        """One request; the connection is closed unless another request can follow."""
        try:
            connection = self._connection(url)
            sent = self.headers_for(method, url, headers)
            answer = connection.request(method, url, sent, body=body, progress=progress, receive=receive)
        except BaseException as error:
            self.close()
            if self._aborted and isinstance(error, NetworkError):
                raise NetworkError("stopped", hopeless=True) from None
            raise
        if not connection.reusable:
            self.close()
        return answer

    def _connection(self, url: str) -> Connection:
        origin = "://".join(urlsplit(url)[:2])
        if self._open and self._open[0] == origin and self._open[1].reusable:
            return self._open[1]
        self.close()
        if self._aborted:
            raise NetworkError("stopped", hopeless=True)
        self._open = origin, self.connect(url)
        if self._aborted:  # meanwhile, when there was nothing to end
            raise NetworkError("stopped", hopeless=True)
        return self._open[1]

    def abort(self) -> None:
        """End what runs, from another thread; nothing can follow."""
        self._aborted = True
        self._dial.stop()
        if found := self._open:
            with contextlib.suppress(OSError):
                found[1].abort()

    def close(self) -> None:
        if self._open:
            self._open[1].close()
        self._open = None
