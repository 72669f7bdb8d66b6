"""Answers before the answer, 104 for one, through servers of ASGI that can send them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from .reply import Reply
from .scopes import Scope, Send
from .targets import Interim


def informing(answer: Reply, scope: Scope, send: Send) -> Interim | None:
    """What sends one, from a thread; nothing once the answer itself is on its way."""
    if "http.response.informational" not in (scope.get("extensions") or ()):
        return None
    loop = asyncio.get_running_loop()

    async def tell(status: int, headers: Mapping[str, str]) -> None:
        if not answer.sent:
            pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
            await send({"type": "http.response.informational", "status": status, "headers": pairs})

    def told(status: int, headers: Mapping[str, str]) -> None:
        asyncio.run_coroutine_threadsafe(tell(status, headers), loop)

    return told
