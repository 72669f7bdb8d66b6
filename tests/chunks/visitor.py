"""A visitor's browser with one of the libraries in it, on real sockets: a jar of cookies that all connections share,
and chunks in the order, and as many at a time, as the library has them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlencode

from tests import wire
from tests.chunks.conftest import form

SIZE = 10_000  # bytes of a chunk
PERMANENT = (404, 413, 415, 500, 501)  # of flow.js
TRIES = 5  # for a chunk; a page that sets no retries has one


@dataclass
class Visitor:
    """What came of its file is in `outcome`: "arrived", or why not."""

    address: wire.Address
    path: str  # of /chunks
    data: bytes
    name: str = "photo.jpg"
    cookies: bool = True  # whether its browser keeps any
    tests: bool = True  # whether the page asks for a chunk before it sends it
    said: dict[str, str] = field(default_factory=dict)  # what the page adds
    headers: dict[str, str] = field(default_factory=dict)
    jar: list[str] = field(default_factory=list)  # in the order in which they came
    heard: list[int] = field(default_factory=list)
    outcome: str = ""

    def ask(self, method: str, query: str = "", body: bytes = b"", kind: str = "") -> wire.Answer:
        headers = {"Host": "localhost", "Connection": "close", "User-Agent": "Browser/1.0", **self.headers}
        if self.cookies and self.jar:
            headers["Cookie"] = "; ".join(self.jar)
        if method == "POST":
            headers |= {"Content-Type": kind, "Content-Length": str(len(body))}
        answer = wire.ask(self.address, method, f"{self.path}{query}", headers, body)
        self.jar += [cookie.partition(";")[0] for cookie in answer.all("Set-Cookie")]
        self.heard.append(answer.status)
        return answer

    @property
    def many(self) -> int:
        return max(len(self.data) // SIZE, 1)

    def piece(self, number: int) -> bytes:
        return self.data[number * SIZE :] if number == self.many - 1 else self.data[number * SIZE :][:SIZE]

    # flow.js

    def words(self, number: int) -> dict[str, Any]:
        return {
            "flowChunkNumber": number + 1,
            "flowChunkSize": SIZE,
            "flowCurrentChunkSize": len(self.piece(number)),
            "flowTotalSize": len(self.data),
            "flowIdentifier": f"{len(self.data)}-{self.name}",
            "flowFilename": self.name,
            "flowRelativePath": self.name,
            "flowTotalChunks": self.many,
            **self.said,
        }

    def flow(self) -> None:
        """Three chunks at a time: each is asked for and sent, until it is there or the file is given up."""
        numbers = iter(range(self.many))
        guard = threading.Lock()

        def work() -> None:
            while not self.outcome:
                with guard:
                    number = next(numbers, None)
                if number is None:
                    return
                self._chunk(number)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: work(), range(3)))
        self.outcome = self.outcome or "arrived"

    def _chunk(self, number: int) -> None:
        words = self.words(number)
        if self.tests:
            answer = self.ask("GET", f"?{urlencode(words)}")
            if answer.status == 200:
                return
            if answer.status in PERMANENT:
                self.outcome = answer.body.decode()
                return
        for _ in range(TRIES):
            answer = self.ask("POST", "", *form(words, self.piece(number)))
            if answer.status == 200:
                return
            if answer.status in PERMANENT:
                break
        self.outcome = answer.body.decode()

    # plupload

    def plupload(self, tries: int = TRIES) -> None:
        """One chunk after the other, by the file's name alone."""
        for _ in self.plupload_steps(tries):
            if self.outcome:
                return

    def plupload_steps(self, tries: int = TRIES) -> Iterator[int]:
        """The same, with a pause after each chunk."""
        for number in range(self.many):
            words = {"name": self.name, "chunk": number, "chunks": self.many, **self.said}
            for attempt in count(1):
                answer = self.ask("POST", "", *form(words, self.piece(number)))
                if answer.status < 400:
                    break
                if attempt == tries:
                    self.outcome = answer.body.decode()
                    return
            yield number
        self.outcome = "arrived"
