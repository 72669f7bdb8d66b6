"""One request's way through the application and back.

It must never keep a connection alive whose next bytes could belong to this request's body.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import Abandoned
from ..http.address import FORWARDED
from ..http.messages import interim_head
from ._waitress import (
    PROXY_HEADERS,
    BadRequest,
    ErrorTask,
    ReadOnlyFileBasedBuffer,
    WSGITask,
)
from .body import BodyStream
from .chunks import BadBody
from .heads import HOP_BY_HOP, complain, date_value, proper

if TYPE_CHECKING:
    from .channel import Channel
    from .request import ParsedRequest

TURN = 1 << 18  # bytes of an answer that can pause after which others get their turn
INTERIM = 65536  # bytes that a client has not read, after which it is told nothing in between: that could wait for it
JOINED = 65536  # bytes of a first block that are sent together with the headers: one system call instead of two
BY_PROXIES = frozenset(name.upper().replace("-", "_") for name in FORWARDED)
BODILESS = ("1", "204", "304")  # how a status begins that has no body


@lru_cache(512)
def environ_key(name: str) -> str:
    """``USER_AGENT`` as an environ has it."""
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + name


def common(server: Any) -> dict[str, Any]:
    """What the environ of every request to a listener has."""
    return {
        "SERVER_PORT": str(server.effective_port),
        "SERVER_NAME": server.server_name,
        "SERVER_SOFTWARE": server.adj.ident,
        "SCRIPT_NAME": server.adj.url_prefix,
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": getattr(server.adj, "workers", 1) > 1,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": ReadOnlyFileBasedBuffer,
        "wsgi.input_terminated": True,
    }


class Pause(BaseException):
    """The client has to read before it gets more, or to send; waitress must not take it for an error."""

    def __init__(self, task: Task) -> None:
        self.task = task


class Task(WSGITask):
    """waitress's task with a streamed body, with connections that live on after 204 and 304, and with answers that
    keep no thread while the client does not read."""

    channel: Channel
    request: ParsedRequest
    _body: Any = None  # what the application returned
    _blocks: Iterator[bytes] | None = None  # of it; None before the application was called
    _parks = False  # what the application returned can wait without a thread
    _idle = False  # it has nothing for the moment, and calls when it may have

    def service(self) -> None:
        stream = self.request.stream
        if stream is None:
            return super().service()
        over = True
        try:
            super().service()
        except BadBody:
            pass  # the application left it to us
        except Pause:
            over = False
            raise
        finally:
            if over:
                self._part(stream)
        if stream.malformed and not self.wrote_header:
            self.request.error = BadRequest(stream.malformed)
            ErrorTask(self.channel, self.request).service()

    def _part(self, stream: BodyStream) -> None:
        """The request and its body are over: what came behind a chunked body is the next request."""
        if not stream.finished:
            self.close_on_finish = True
            self.channel.lingers = not stream.failed
        elif stream.leftover and not self.close_on_finish:
            self.channel.received(stream.leftover)

    def get_environment(self) -> dict[str, Any]:
        if self.environ is None:
            self.environ = self._environment()
        return self.environ

    def _environment(self) -> dict[str, Any]:
        """As waitress has it, with our own words."""
        request, channel = self.request, self.channel
        address, server, headers = channel.addr, channel.server, request.headers
        shared = getattr(server, "common", None) or common(server)
        body = request.get_body_stream()
        environ = {
            **shared,
            "REMOTE_ADDR": address[0],
            "REMOTE_HOST": address[0],
            "REMOTE_PORT": str(address[1]),
            "REQUEST_METHOD": request.command,
            "SERVER_PROTOCOL": "HTTP/" + self.version,
            "PATH_INFO": self._path(shared["SCRIPT_NAME"]),
            "REQUEST_URI": request.request_uri,
            "QUERY_STRING": request.query,
            "wsgi.url_scheme": request.url_scheme,
            "wsgi.errors": sys.stderr,
            "wsgi.input": body,
            "waitress.client_disconnected": channel.check_client_disconnected,
            "tus.since": request.since,
            "tus.parks": request.stream is None,
        }
        environ.update(zip(map(environ_key, headers), headers.values(), strict=True))
        if isinstance(body, BodyStream):
            environ["tus.input"] = body
        if self.version == "1.1":
            environ["tus.interim"] = self.interim
        if not (BY_PROXIES.isdisjoint(headers) and PROXY_HEADERS.isdisjoint(headers)):
            self._note_forwarded(environ)
        return environ

    def _path(self, prefix: str) -> str:
        path = self.request.path
        if path.startswith("//"):
            path = "/" + path.lstrip("/")
        if prefix and (path + "/").startswith(prefix + "/"):
            return path[len(prefix) :]
        return path

    def _note_forwarded(self, environ: dict[str, Any]) -> None:
        """The application must not see what is not trusted; whether a proxy is there is still worth knowing."""
        keys = ["HTTP_" + name for name in BY_PROXIES]
        environ["tus.forwarded"] = {key: environ[key] for key in keys if key in environ}
        if getattr(self.channel.server, "forgets", False):
            for name in PROXY_HEADERS:
                environ.pop("HTTP_" + name, None)

    # -- the application's answer

    def execute(self) -> None:
        """Call the application and send what it returns; and go on with that after a pause."""
        if self._blocks is None:
            self._body = body = self.channel.server.application(self.get_environment(), self.start_response)
            if type(body) is list:
                self._send_list(body)
                return
            if self._begun(body):
                return
        try:
            if self._paused():
                raise Pause(self)
            self._check_length()
        except Pause:
            raise
        except Abandoned as error:
            self._cut(error)
        except BaseException:
            self.end_body()
            raise
        self.end_body()

    def _send_list(self, blocks: list[bytes]) -> None:
        """What most applications return: all of it is there, and nothing has to be closed."""
        if self.content_length is None and len(blocks) == 1 and not self.wrote_header:
            self.content_length = len(blocks[0])
        for block in blocks:
            if block:
                self.write(block)
        self._check_length()

    def _begun(self, body: Any) -> bool:
        """Begin to read what the application returned; true if it is a file, which the connection sends and closes."""
        try:
            if isinstance(body, ReadOnlyFileBasedBuffer) and self._send_file(body):
                return True
            self._parks = self.request.stream is None and hasattr(body, "park")
            self._blocks = body.park() if self._parks else iter(body)
        except BaseException:
            self.end_body()
            raise
        return False

    def feed(self, buffer: memoryview) -> bool:
        """Give the application what has come of the body; true when that is over."""
        return bool(self._body.feed(buffer))

    def rest(self) -> None:
        """Tell the application to hold no file open until more of the body comes."""
        if hasattr(self._body, "rest"):
            self._body.rest()

    def waits(self, wake: Callable[[], None]) -> bool:
        """Whether there is nothing to send before the application calls this."""
        if self._idle:
            self._body.call(wake)
        return self._idle

    def _cut(self, error: Exception) -> None:
        """The client has to see that this is not the end."""
        self.end_body()
        if not self.wrote_header:
            raise error
        self.logger.info("An answer is cut: %s", error)
        self.close_on_finish, self.chunked_response = True, False

    def end_body(self) -> None:
        """Close what the application returned."""
        body, self._body, self._blocks = self._body, None, iter(())
        if hasattr(body, "close"):
            body.close()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """As PEP 3333 has it."""
        if exc_info or self.complete:
            self._restart(exc_info)
        self.complete = True
        self.status = status
        try:
            given, values = zip(*headers, strict=True) if headers else ((), ())
            names = [*map(proper, given)]
        except (AttributeError, TypeError, ValueError):
            complain(status, headers)
            raise
        if not HOP_BY_HOP.isdisjoint(names):
            name = next(iter(HOP_BY_HOP.intersection(names)))
            raise AssertionError(f"{name} is hop-by-hop, so that a WSGI application cannot send it (PEP 3333)")
        if "Content-Length" in names:
            self.content_length = int(values[names.index("Content-Length")])
        self.response_headers += zip(names, values, strict=True)
        return self.write

    def _restart(self, exc_info: Any) -> None:
        """Another answer instead of the one that failed, if nothing of it has been sent."""
        if not exc_info:
            raise AssertionError("start_response called a second time without providing exc_info.")
        try:
            if self.wrote_header:
                raise exc_info[1]
        finally:
            exc_info = None  # a traceback keeps frames, and their files
        self.response_headers, self.content_length = [], None

    def _send_file(self, file: ReadOnlyFileBasedBuffer) -> bool:
        """From where it stands, and at most Content-Length; false if that is nothing, or cannot be known."""
        size = file.prepare(self.content_length)
        if not size:
            return False
        if size != self.content_length:
            self.remove_content_length_header()
            self.content_length = size
        self.write(b"")
        if self.request.command == "HEAD" or not self.has_body:
            self.end_body()
        else:
            self.channel.write_soon(file)
        return True

    def _paused(self) -> bool:
        """Send blocks; true if the client has to read before there can be more, or to send, or if it is the turn of
        others."""
        body, blocks, channel, sent = self._body, self._blocks, self.channel, 0
        assert blocks is not None
        stream = self.request.stream
        pauses = stream is None and getattr(body, "pauses", False)
        self._idle = False
        feeds = stream is not None and stream.parks and hasattr(body, "feed")
        for block in blocks:
            if self.content_length is None and not self.wrote_header and hasattr(body, "__len__") and len(body) == 1:
                self.content_length = len(block)
            if block:
                self.write(block)
                sent += len(block)
                if self.request.command == "HEAD":
                    return False
            elif feeds and not self.complete:
                return True
            elif self._parks:
                self.write(b"")  # the headers, if they wait
                self._idle = True
                return True
            if (pauses or self._parks) and (channel.total_outbufs_len or sent >= TURN):
                return True
        return False

    def _check_length(self) -> None:
        length = self.content_length
        if length is not None and self.content_bytes_written != length and self.request.command != "HEAD":
            self.set_close_on_finish()  # the client must not wait for the rest
            self.logger.warning("the application sent %s bytes of %s", self.content_bytes_written, length)

    def interim(self, status: int, headers: Mapping[str, str]) -> None:
        """Send an answer before the answer, while there is none yet."""
        if not self.wrote_header and self.channel.total_outbufs_len < INTERIM:
            self.channel.write_soon(interim_head(status, headers))

    @property
    def has_body(self) -> bool:
        return not self.status.startswith(BODILESS)

    def build_response_header(self) -> bytes:
        """As waitress does it, except that a response without a body needs no length to keep the connection."""
        self._close_unless_read()
        headers, has_body = self.response_headers, self.has_body
        fields = dict(headers)
        if not has_body and "Content-Length" in fields:
            headers[:] = [pair for pair in headers if pair[0] != "Content-Length"]
        elif has_body and "Content-Length" not in fields and self.content_length is not None:
            headers.append(("Content-Length", str(self.content_length)))
        self._choose_framing(not has_body or self.content_length is not None)
        ident = self.channel.adj.ident
        if "Server" in fields:
            headers.append(("Via", ident or "waitress"))
        elif ident:
            headers.append(("Server", ident))
        if "Date" not in fields:
            headers.append(("Date", date_value(int(self.start_time or time.time()))))
        return self._head()

    def _head(self) -> bytes:
        headers = self.response_headers
        try:
            head = "\r\n".join((f"HTTP/{self.version} {self.status}", *map(": ".join, headers), "\r\n"))
        except TypeError:
            complain(self.status, headers)
            raise
        if not head.count("\r") == head.count("\n") == len(headers) + 2:
            complain(self.status, headers)
        return head.encode("latin-1")

    def _close_unless_read(self) -> None:
        """Decide whether this connection carries another request."""
        stream = self.request.stream
        if stream is not None:
            stream.refuse_continue()
            stream.settle()
            if not stream.finished:
                self.set_close_on_finish()
        if self.request.connection_close or getattr(self.channel.server, "closing", False):
            self.set_close_on_finish()

    def _choose_framing(self, framed: bool) -> None:
        framed = framed or self.request.command == "HEAD"
        if not framed:
            self.set_close_on_finish()
        if self.version == "1.0":
            if not self.close_on_finish:
                self.response_headers.append(("Connection", "Keep-Alive"))
        elif not framed:
            self.response_headers.append(("Transfer-Encoding", "chunked"))
            self.chunked_response = True

    def write(self, data: bytes) -> None:
        """The headers and a first block in one piece; no body for HEAD, whatever the application returns."""
        if self.request.command == "HEAD":
            self.content_bytes_written += len(data)
            data = b""
        if self.wrote_header or not self._joins(data):
            return super().write(data)
        header = self.build_response_header()
        self.wrote_header = True
        if not data:
            self.channel.write_soon(header)
            return
        if self.chunked_response:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        else:
            self.content_bytes_written = len(data)
        self.channel.write_soon(header + data)

    def _joins(self, data: bytes) -> bool:
        """waitress's own way is for what is long, unusual or wrong."""
        if not data:
            return self.complete
        fits = self.content_length is None or len(data) <= self.content_length
        return self.complete and self.has_body and fits and len(data) <= JOINED
