"""The head of an answer, as an application gives it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ._waitress import build_http_date, hop_by_hop


def complain(status: Any, headers: list[tuple[str, str]]) -> None:
    """Say what is wrong with an application's answer."""
    texts = [("status", status)]
    for name, value in headers:
        texts += [("header name", name), (f"header {name!r}", value)]
    for what, text in texts:
        if not isinstance(text, str):
            raise AssertionError(f"{what} {text!r} is not a string")
        if "\n" in text or "\r" in text:
            raise ValueError(f"carriage return/line feed character present in {what}")


@lru_cache(256)
def proper(name: str) -> str:
    """``content-type`` as waitress writes it: ``Content-Type``."""
    return "-".join([part.capitalize() for part in name.split("-")])


HOP_BY_HOP = frozenset(map(proper, hop_by_hop))


@lru_cache(2)
def date_value(second: int) -> str:
    return build_http_date(second)
