"""Our filter on servers that have no command line for it: `serve_with.py NAME PORT`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from filtered import application


def cheroot(port: int) -> None:
    from cheroot.wsgi import Server

    Server(("127.0.0.1", port), application, numthreads=32).start()


def wsgiref(port: int) -> None:
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    make_server("127.0.0.1", port, application, handler_class=Quiet).serve_forever()


def werkzeug(port: int) -> None:
    import logging

    from werkzeug.serving import run_simple

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    run_simple("127.0.0.1", port, application, threaded=True)


def paste(port: int) -> None:
    from paste.httpserver import serve

    serve(application, "127.0.0.1", port)


def pywsgi(port: int) -> None:
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", port), application, log=None).serve_forever()


def uvicorn(port: int) -> None:
    import uvicorn as server
    from a2wsgi import WSGIMiddleware

    server.run(WSGIMiddleware(application, workers=32), host="127.0.0.1", port=port, log_level="error")


SERVERS: dict[str, Callable[[int], None]] = {
    function.__name__: function for function in (cheroot, wsgiref, werkzeug, paste, pywsgi, uvicorn)
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
