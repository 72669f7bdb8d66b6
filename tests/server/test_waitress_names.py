"""A new waitress: which of the names that the server leans on are gone?"""

from __future__ import annotations

import socket
from typing import Any

from tus.server import _waitress
from tus.server._waitress import ON_INSTANCES, missing

from .test_requests import respond


def test_waitress_has_every_name_on_its_classes() -> None:
    """If this fails, waitress was changed: adapt the class of ours that uses the name."""
    assert missing() == []


def test_waitress_has_every_name_on_its_instances() -> None:
    """The same for what is set by constructors, and by parsing a request."""
    from waitress.adjustments import Adjustments
    from waitress.channel import HTTPChannel
    from waitress.parser import HTTPRequestParser
    from waitress.server import TcpWSGIServer
    from waitress.task import WSGITask

    map: dict[int, Any] = {}
    server = TcpWSGIServer(lambda environ, start: respond(start), map=map, host="127.0.0.1", port=0)
    ours, theirs = socket.socketpair()
    channel = HTTPChannel(server, ours, ("127.0.0.1", 1), server.adj, map=map)
    request = HTTPRequestParser(Adjustments())
    bare = set(vars(request))
    request.received(b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n")
    have = {
        "waitress.channel:HTTPChannel": channel,
        "waitress.parser:HTTPRequestParser": request,
        "waitress.parser:HTTPRequestParser.parsed": request,
        "waitress.server:BaseWSGIServer": server,
        "waitress.task:WSGITask": WSGITask(channel, request),
    }
    gone = [
        f"{where}.{name}"
        for where, names in ON_INSTANCES.items()
        for name in names.split()
        if not hasattr(have[where], name)
    ]
    server.task_dispatcher.shutdown()
    channel.handle_close()
    theirs.close()
    server.close()

    assert gone == []
    assert {"headers", "adj"} <= bare


def test_a_name_that_is_gone_is_told(monkeypatch) -> None:
    """The list names module, class and attribute."""
    monkeypatch.setitem(_waitress.ON_CLASSES, "waitress.task:WSGITask", "service vanished")
    monkeypatch.setitem(_waitress.ON_CLASSES, "waitress.task:Vanished", "service")

    assert missing() == ["waitress.task:WSGITask.vanished", "waitress.task:Vanished.service"]
