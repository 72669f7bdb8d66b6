"""A new waitress: which of the names that the server leans on are gone?"""

from __future__ import annotations

import ast
import inspect
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import waitress.task
import waitress.trigger
import waitress.utilities

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


PRIVATE = {"_Error": waitress.utilities.Error, "_Task": waitress.task.Task, "_Trigger": waitress.trigger.trigger}


def functions(node: ast.Module | ast.ClassDef, owner: Any) -> Iterator[tuple[str, list[str], Any]]:
    """The path of each function of a stub, its parameters, and what it stands for."""
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            what = PRIVATE.get(child.name) or getattr(owner, child.name)
            for path, parameters, function in functions(child, what):
                yield f"{child.name}.{path}", parameters, function
        elif isinstance(child, ast.FunctionDef) and not child.args.vararg:
            yield child.name, [a.arg for a in child.args.args], getattr(owner, child.name)


def test_types_stand_for_what_waitress_has() -> None:
    """The stub has no function, and no parameter, that is not there."""
    stub = ast.parse(Path(_waitress.__file__).with_suffix(".pyi").read_text())

    found = list(functions(stub, _waitress))

    assert len(found) > 50
    for path, parameters, function in found:
        if not isinstance(function, property):
            assert parameters == list(inspect.signature(function).parameters)[: len(parameters)], path
