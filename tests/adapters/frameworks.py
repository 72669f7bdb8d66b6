"""One view of `Tus` in every framework that has an environ, each mounted at its own name in one application.

A framework must not be imported before it is asked for, since it may not be there.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.util import shift_path_info

import webob

from tests import apps
from tus import Tus, WebobAdapter

NEEDS = {
    "webob": "webob",
    "pyramid": "pyramid",
    "flask": "flask",
    "django": "django",
    "falcon": "falcon",
    "bottle": "bottle",
    "werkzeug": "werkzeug",
    "cherrypy": "cherrypy",
}
METHODS = ("OPTIONS", "POST", "HEAD", "PATCH", "GET", "DELETE")

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def view(request: Any, name: str) -> webob.Response:
    """What a user writes, with a plan for what may go wrong in it."""
    home = Path(os.environ[apps.HOME]) / name
    plan = json.loads((home / "plan.json").read_text()) if (home / "plan.json").exists() else {}
    adapter = WebobAdapter(request)
    tus = Tus(adapter, tmp_file_dir=str(home / "uploads"), durable="none")
    if not tus.valid:
        return webob.Response("not for tus", status=404)
    tus.handle()
    if tus.upload_finished:
        taken(home, Path(tus.get_filepath()))
        if plan.get("raises"):
            raise RuntimeError("the test planned that the view fails")
        if not plan.get("keeps"):
            tus.cleanup_file()
    return adapter.resp


def taken(home: Path, path: Path) -> None:
    """Keep what was handed over, however often."""
    (home / "handed").mkdir(exist_ok=True)
    shutil.copyfile(path, home / "handed" / f"{len(list((home / 'handed').iterdir()))}-{path.name}")


def in_webob() -> Application:
    from webob.dec import wsgify

    return wsgify(lambda request: view(request, "webob"))


def in_pyramid() -> Application:
    from pyramid.config import Configurator

    with Configurator() as config:
        config.add_route("uploads", "/upload")
        config.add_route("upload", "/upload/{id}")
        for route in ("uploads", "upload"):
            config.add_view(lambda request: view(request, "pyramid"), route_name=route, require_csrf=False)
        return config.make_wsgi_app()


def in_flask() -> Application:
    from flask import Flask, request

    app = Flask(__name__)

    @app.route("/upload", methods=METHODS)
    @app.route("/upload/<id>", methods=METHODS)
    def uploads(id: str = "") -> Any:
        return view(request.environ, "flask")

    return app


def in_werkzeug() -> Application:
    from werkzeug import Request, Response

    @Request.application
    def app(request: Request) -> Response:
        return Response.from_app(view(request.environ, "werkzeug"), request.environ)

    return app


def in_django() -> Application:
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import re_path
    from django.views.decorators.csrf import csrf_exempt

    @csrf_exempt
    def uploads(request: Any) -> HttpResponse:
        answer = view(request.environ, "django")
        response = HttpResponse(answer.body, status=answer.status_int, reason=answer.status[4:])
        del response.headers["Content-Type"]
        for name, value in answer.headerlist:
            response.headers[name] = value
        return response

    class Urls:
        urlpatterns = [re_path(r"^upload(?:/.*)?$", uploads)]

    settings.configure(ROOT_URLCONF=Urls, ALLOWED_HOSTS=["*"], SECRET_KEY="none", MIDDLEWARE=[])
    django.setup()
    return WSGIHandler()


def in_falcon() -> Application:
    import falcon

    def uploads(req: Any, resp: Any, **_: Any) -> None:
        answer = view(req.env, "falcon")
        resp.status = answer.status
        for name, value in answer.headerlist:
            resp.set_header(name, value)
        resp.data = answer.body

    app = falcon.App()
    app.add_sink(uploads, "/upload")
    return app


def in_bottle() -> Application:
    from bottle import Bottle, HTTPResponse, request

    app = Bottle()

    @app.route("/upload", method="ANY")
    @app.route("/upload/<id>", method="ANY")
    def uploads(id: str = "") -> HTTPResponse:
        answer = view(request.environ, "bottle")
        return HTTPResponse(answer.body, status=answer.status, headers=answer.headerlist)

    return app


def in_cherrypy() -> Application:
    import cherrypy

    class Root:
        _cp_config = {"request.process_request_body": False, "log.screen": False}

        @cherrypy.expose
        def upload(self, *_: str) -> bytes:
            answer = view(cherrypy.request.wsgi_environ, "cherrypy")
            cherrypy.response.status = answer.status
            cherrypy.response.headers.clear()
            cherrypy.response.headers.update(answer.headerlist)
            return answer.body

    return cherrypy.Application(Root(), "/cherrypy")


class Frameworks:
    """All of them, each made when it is first asked for."""

    def __init__(self) -> None:
        self.made: dict[str, Application] = {}
        self.lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        name = shift_path_info(environ)
        if name not in NEEDS:
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        with self.lock:
            if name not in self.made:
                self.made[name] = globals()[f"in_{name}"]()
        return self.made[name](environ, start_response)


if __name__ == "__main__":
    apps.application = Frameworks  # served as the other applications are
    apps.main()
