"""Every name of waitress that the server uses, in one place, so that a new waitress that lacks one fails here.

waitress itself is not changed: the rest of this package subclasses what is imported here.
"""

from __future__ import annotations

from importlib import import_module

from waitress import wasyncore
from waitress.adjustments import Adjustments, asbool, aslist
from waitress.buffers import OverflowableBuffer, ReadOnlyFileBasedBuffer
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented, unquote_bytes_to_wsgi
from waitress.proxy_headers import PROXY_HEADERS, parse_proxy_headers
from waitress.receiver import FixedStreamReceiver
from waitress.rfc7230 import CHUNK_EXT_RE
from waitress.server import BaseWSGIServer, TcpWSGIServer
from waitress.task import ErrorTask, WSGITask, hop_by_hop
from waitress.utilities import (
    BadRequest,
    RequestEntityTooLarge,
    build_http_date,
    cleanup_unix_socket,
    logger,
    queue_logger,
)

try:
    from waitress.server import UnixWSGIServer
except ImportError:  # pragma: no cover - a platform without unix sockets
    UnixWSGIServer = None

__all__ = [
    "CHUNK_EXT_RE",
    "PROXY_HEADERS",
    "Adjustments",
    "BadRequest",
    "BaseWSGIServer",
    "ClientDisconnected",
    "ErrorTask",
    "FixedStreamReceiver",
    "HTTPChannel",
    "HTTPRequestParser",
    "OverflowableBuffer",
    "ParsingError",
    "ReadOnlyFileBasedBuffer",
    "RequestEntityTooLarge",
    "TcpWSGIServer",
    "TransferEncodingNotImplemented",
    "UnixWSGIServer",
    "WSGITask",
    "asbool",
    "aslist",
    "build_http_date",
    "cleanup_unix_socket",
    "hop_by_hop",
    "logger",
    "missing",
    "parse_proxy_headers",
    "queue_logger",
    "unquote_bytes_to_wsgi",
    "wasyncore",
]

# Class → the methods, class attributes and constructor arguments that we call, override or set.
ON_CLASSES = {
    "waitress.adjustments:Adjustments": "_params _param_map check_sockets",
    "waitress.buffers:OverflowableBuffer": "get append close",
    "waitress.buffers:ReadOnlyFileBasedBuffer": "prepare close",
    "waitress.channel:HTTPChannel": (
        "parser_class task_class error_task_class request last_activity will_close close_when_flushed "
        "total_outbufs_len readable writable handle_read handle_write handle_close received write_soon service "
        "cancel add_channel del_channel check_client_disconnected _flush_outbufs_below_high_watermark _flush_some "
        "_flush_exception"
    ),
    "waitress.parser:HTTPRequestParser": (
        "received parse_header get_body_stream close completed error empty expect_continue headers_finished "
        "chunked content_length body_rcv version connection_close header_plus"
    ),
    "waitress.receiver:FixedStreamReceiver": "received completed error getbuf getfile",
    "waitress.server:BaseWSGIServer": (
        "channel_class next_channel_cleanup in_connection_overflow bind_server_socket accept_connections add_task "
        "readable maintenance pull_trigger handle_accept close"
    ),
    "waitress.server:TcpWSGIServer": "bind_server_socket getsockname set_socket_options",
    "waitress.task:WSGITask": (
        "service execute write finish build_response_header get_environment set_close_on_finish has_body "
        "close_on_finish wrote_header content_length chunked_response status content_bytes_written "
        "remove_content_length_header complete"
    ),
    "waitress.task:ErrorTask": "execute service",
    "waitress.wasyncore:dispatcher": "add_channel del_channel close handle_error",
}

# Class → the attributes that its instances have.
ON_INSTANCES = {
    "waitress.channel:HTTPChannel": "server adj socket addr requests requests_lock outbuf_lock connected _fileno _map",
    "waitress.parser:HTTPRequestParser": "headers adj",
    "waitress.parser:HTTPRequestParser.parsed": "command path version query request_uri url_scheme",
    "waitress.server:BaseWSGIServer": (
        "adj application active_channels effective_host effective_port server_name trigger accepting _map "
        "task_dispatcher"
    ),
    "waitress.task:WSGITask": "channel request response_headers version start_time",
}


def missing() -> list[str]:
    """The names on classes that the installed waitress no longer has, as ``module:Class.name``."""
    gone = []
    for where, names in ON_CLASSES.items():
        module, _, name = where.partition(":")
        owner = getattr(import_module(module), name, None)
        gone += [f"{where}.{attribute}" for attribute in names.split() if not hasattr(owner, attribute)]
    return gone
