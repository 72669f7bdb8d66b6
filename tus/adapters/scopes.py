"""ASGI's scope and WSGI's environ: the same request in the words of the other.

The environ is made once, and only for requests that are ours, so that the rules about paths, proxies and bodies are
those of WSGI.
"""

from __future__ import annotations

import io
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Environ = dict[str, Any]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_MANY = 256  # names of headers that are kept ready; clients send what names they like
_keys: dict[bytes, str] = {}


def places(scope: Scope) -> tuple[str, str]:
    """Where the application is mounted, and what follows, as WSGI has them. Since ASGI 2.4 the path contains the mount;
    before, it need not."""
    mount, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    if mount and path.startswith(mount) and path[len(mount) : len(mount) + 1] in ("", "/"):
        path = path[len(mount) :]
    return _wsgi(mount), _wsgi(path)


def environ_of(scope: Scope, place: tuple[str, str] | None = None) -> Environ:
    """The request, as it is when its head has come; `place` is what `places` said, if that was asked."""
    mount, path = place or places(scope)
    host, port = scope.get("server") or ("localhost", None)
    client = scope.get("client")  # None on a unix socket
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": mount,
        "PATH_INFO": path,
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or ""),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(),
        "wsgi.input_terminated": True,
        "asgi.scope": scope,
        "tus.awaited": True,
        "tus.since": time.monotonic(),
    }
    if "tus.trailers" in scope:
        environ["tus.trailers"] = scope["tus.trailers"]
    _add_headers(environ, scope["headers"])
    return environ


def _add_headers(environ: Environ, headers: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        key = _keys.get(name) or _key(name)
        if not key:
            continue
        text = value.decode("latin-1")
        if key in environ:
            # HTTP/2 sends each cookie by itself.
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text


def _key(name: bytes) -> str:
    """The header's name in an environ; "" for one that would look like another: servers drop what has underscores."""
    if b"_" in name:
        return ""
    key = name.decode("latin-1").upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = "HTTP_" + key
    if len(_keys) < _MANY:
        _keys[name] = key
    return key


def _wsgi(path: str) -> str:
    """A path as WSGI has it: its bytes, each as a character."""
    return path if path.isascii() else path.encode("utf-8", "replace").decode("latin-1")


def _asgi(path: str) -> str:
    return path if path.isascii() else path.encode("latin-1").decode("utf-8", "replace")


def scope_of(environ: Environ) -> Scope:
    """The scope of a request that was prepared for the application: the one that came, with what has changed."""
    mount, path = _asgi(environ.get("SCRIPT_NAME", "")), _asgi(environ["PATH_INFO"])
    came: Scope = environ["asgi.scope"]
    # Where the path of this server does not contain the mount, it does not get it from us.
    full = mount + path if not mount or came["path"].startswith(mount) else path
    scope = {
        **came,
        "method": environ["REQUEST_METHOD"],
        "path": full,
        "raw_path": full.encode("utf-8", "replace"),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _headers(environ)],
        "extensions": {},  # the answer is ours to send
    }
    scope.update((key, value) for key, value in environ.items() if key.startswith("tus."))
    return scope


def _headers(environ: Environ) -> Iterable[tuple[str, str]]:
    for key, value in environ.items():
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            yield key.removeprefix("HTTP_").replace("_", "-").lower(), value
