"""A password before the application: HTTP Basic over everything that it serves.

A user with a password of their own is REMOTE_USER to the application, so that uploads belong to them. A password
without a name is shared, and does not identify a user.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import events
from ..adapters.wsgi import EnvironHeaders, outgoing
from ..cors import Cors
from ..errors import OptionError
from ..http.messages import Request, Response

Environ = dict[str, Any]
App = Callable[..., Iterable[bytes]]

_NOBODY = bytes(32)  # the digest of no password that anybody knows
_CHALLENGE = 'Basic realm="tus", charset="UTF-8"'
_ANSWER = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", "WWW-Authenticate": _CHALLENGE}


class Login:
    """Lets only those through who know a password."""

    def __init__(self, app: App, *, password: str, users: Mapping[str, str], cors: Cors | None = None) -> None:
        self._app, self._cors = app, cors
        self._shared = _digest(password) if password else None
        self._users = {name: _digest(word) for name, word in users.items()}
        self.shortest = min(map(len, filter(None, (password, *users.values()))))  # characters

    @property
    def parks(self) -> bool:
        """What the application returns is passed on as it is."""
        return getattr(self._app, "parks", False)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ.pop("REMOTE_USER", None)
        if not _asks_leave(environ):
            said = environ.get("HTTP_AUTHORIZATION")
            name, password = credentials(said or "")
            if not self._knows(name, password):
                return self._challenge(environ, start_response, wrong=bool(said))
            if name in self._users:
                environ["REMOTE_USER"], environ["AUTH_TYPE"] = name, "Basic"
        return self._app(environ, start_response)

    def _knows(self, name: str, password: str) -> bool:
        """In a time that says nothing of how much was right."""
        expected = self._users.get(name, self._shared)
        return hmac.compare_digest(_digest(password), expected or _NOBODY) and bool(password)

    def _challenge(self, environ: Environ, start_response: Callable[..., Any], *, wrong: bool) -> Iterable[bytes]:
        # At once: a delayed answer holds a thread, and others would wait together with the client that guesses.
        if wrong:
            events.turned_away(environ.get("REMOTE_ADDR", ""), "wrong password")
        response = Response(401, dict(_ANSWER), b"a password is needed\n")
        if self._cors:  # so that pages of other origins see a 401, and not a broken connection
            request = Request(environ["REQUEST_METHOD"], headers=EnvironHeaders(environ))
            response = self._cors.apply(request, response)
        return outgoing(response, environ, start_response)


def _asks_leave(environ: Environ) -> bool:
    """Whether a browser asks if a page of another origin may send what it wants to. It does so without a password, and
    the answer reads and changes nothing."""
    return environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogateescape")).digest()


def credentials(authorization: str) -> tuple[str, str]:
    """Name and password of the header; nothing, where it has none that make sense."""
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        pair = base64.b64decode(coded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except ValueError:
        return "", ""
    name, _, password = pair.partition(":")
    return name, password


def passwords(word: str | None, users: Iterable[str], environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The password for everybody, and those of users, from the command line; else from the environment, where nobody
    sees them in a list of processes."""
    word = environ.get("TUS_PASSWORD") if word is None else word
    users = list(users) or ([environ["TUS_USER"]] if "TUS_USER" in environ else [])
    if word == "":
        raise OptionError("the password is empty")  # of a variable that was not set, perhaps: nobody wants an open door
    return word or "", dict(map(_user, users))


def _user(text: str) -> tuple[str, str]:
    name, _, password = text.partition(":")
    if not (name and password and name.isprintable()):
        raise OptionError("a user is given as name:password")
    return name, password
