"""One file in several uploads at once, which the server puts together: tus 1.0, Concatenation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import accumulate
from typing import TypeVar

from .brake import Brake
from .link import Link
from .transfer import judge, metadata_header
from .wire import Bytes, located

T = TypeVar("T")
_MOST = 4096  # characters of a header, which any server takes


def ranges(size: int, count: int) -> list[tuple[int, int]]:
    """Start and length of each part; none is empty. No two have the same length, if there is room for that."""
    count = max(1, min(count, size))
    each = size // count
    if each < count:
        lengths = [size * (n + 1) // count - size * n // count for n in range(count)]
    else:
        lengths = [each - 1 - n for n in range(count - 1)]
        lengths.append(size - sum(lengths))
    starts = [0, *accumulate(lengths)]
    return list(zip(starts, lengths, strict=False))


def whole_header(key: str, lengths: Sequence[int]) -> dict[str, str]:
    """What tells our server where each part belongs, so that it need not copy them in the end; others ignore it."""
    named = " ".join([key, *map(str, lengths)])
    return {"Upload-Whole": named} if len(set(lengths)) == len(lengths) and len(named) <= _MOST else {}


def at_once(tasks: Sequence[Callable[[], T]], brake: Brake) -> list[T]:
    """What all of them return. If one fails the others still end what they do, so that it need not be done again."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        try:
            futures = [pool.submit(task) for task in tasks]
            wait(futures)
        except KeyboardInterrupt:
            brake.pull()  # what follows waits for the threads
            raise
    return [future.result() for future in futures]


class Sum:
    """The progress of several parts as that of one file."""

    def __init__(self, size: int, show: Callable[[int, int | None], None]) -> None:
        self._size, self._show = size, show
        self._lock = threading.Lock()
        self._parts: dict[int, int] = {}

    def of(self, part: int) -> Callable[[int, int | None], None]:
        """Where this part tells how far it is."""

        def show(offset: int, length: int | None) -> None:
            with self._lock:
                self._parts[part] = offset
                self._show(sum(self._parts.values()), self._size)

        return show


def takes_parts(link: Link) -> bool:
    """Whether the server can put uploads together."""
    extensions = link.request("OPTIONS", link.home, {}).header("Tus-Extension")
    return "concatenation" in [word.strip() for word in extensions.split(",")]


def whole_of(link: Link, urls: Sequence[str], metadata: Mapping[str, bytes], headers: Mapping[str, str]) -> str:
    """Put the parts together; the URL of the whole."""
    said = {"Upload-Concat": "final;" + " ".join(urls), **headers}
    if metadata:
        said["Upload-Metadata"] = metadata_header(metadata)
    answer = link.request("POST", link.home, said, body=Bytes())
    judge(answer, "putting the parts together")
    return located(link.home, answer.header("Location"))
