"""`tus serve`: a directory that takes uploads, or a paste ini, on our own server."""

from __future__ import annotations

import argparse
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from ..cors import Cors
from ..errors import OptionError
from ..lockers.memory import MemoryLocker
from ..options import LIMITS, OPTIONS, Options
from ..values import flag
from . import logs, secure
from .access import Access, App
from .login import Login, passwords
from .opening import opening
from .place import kept

if TYPE_CHECKING:
    from ..adapters.wsgi import Filter

HOST, PORT = "127.0.0.1", "8080"
_MANY_THREADS = "40"  # more than may wait for thumbnails, so that pages never do; and calls to a storage, side by side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", nargs="?", metavar="DIR", help="where uploads go (default: ./uploads), or an ini file"
    )
    parser.add_argument("--host", help=f"address to listen on (default: {HOST}, or what systemd passes)")
    parser.add_argument("--port", type=_port, help=f"port to listen on; 0 for any (default: {PORT})")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any other option of the server"
    )
    parser.add_argument("--password", metavar="WORD", help="let in all who know it, by any name; better: TUS_PASSWORD")
    parser.add_argument(
        "--user", action="append", default=[], metavar="NAME:PASSWORD",
        help="let in this user, who sees only their own uploads; better: TUS_USER",
    )  # fmt: skip
    parser.add_argument("--access-log", metavar="FILE", help="log each request to this file; - for standard output")
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument("--quiet", action="store_true", help="log only what goes wrong, not what happens to uploads")
    loud.add_argument("--verbose", action="store_true", help="log every refusal, and what the server does")
    parser.add_argument(
        "--gallery", metavar="DIR", help="show the photos and videos in this directory, and add to them"
    )
    parser.add_argument("--no-page", action="store_true", help="serve uploads alone, without a page to upload from")
    parser.add_argument(
        "--operators", action="store_true", help="serve a page that shows and removes all uploads; its link is printed"
    )
    secure.add_arguments(parser)
    ours = parser.add_argument_group("options of the application")
    for option in OPTIONS:
        if option.name == "tmp_file_dir":
            continue
        words: dict[str, Any] = {"nargs": "?", "const": "true"} if option.parse is flag else {}
        metavar = "BOOL" if words else option.name.upper()
        text = option.meaning.replace("`", "").replace("%", "%%")
        ours.add_argument(f"--{option.name.replace('_', '-')}", metavar=metavar, help=text, **words)


def _port(text: str) -> str:
    # The system would take the rest of the division by 65536.
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return text


def main(args: argparse.Namespace) -> int:
    logs.configure(quiet=args.quiet, verbose=args.verbose)
    given = {o.name: value for o in OPTIONS if (value := getattr(args, o.name, None)) is not None}
    if args.directory and args.directory.endswith(".ini"):
        return _serve_ini(args, given)
    return _serve_directory(args, given)


def _serve_directory(args: argparse.Namespace, given: dict[str, Any]) -> int:
    serve = secure.server(args)
    app = _application(args, given)
    if args.workers > 1 and isinstance(app.engine.locker, MemoryLocker):
        raise OptionError("option locker: processes share none in memory; take another store or locker, or --workers 1")
    login = _login(app, args, Cors(app.options))

    def announce(urls: list[str]) -> None:
        for line in opening(urls, app.options, place=args.gallery or "", page=not args.no_page, login=login):
            print(f"tus: {line}", flush=True)
        _announce_operators(_link(app), urls)

    server_options = _server_options(args, waits=bool(args.gallery) or app.engine.distant is not None)
    server_options = server_options if secure.asked(args) else _limits(app.options) | server_options
    serve(_logged(login or app, args), on_listening=announce, **server_options)
    return 0


def _login(app: App, args: argparse.Namespace, cors: Cors | None = None) -> Login | None:
    """The password before the application, if one is asked for."""
    password, users = passwords(args.password, args.user, os.environ)
    return Login(app, password=password, users=users, cors=cors) if password or users else None


def _logged(app: App, args: argparse.Namespace) -> App:
    return Access(app, args.access_log) if args.access_log else app


def _application(args: argparse.Namespace, given: dict[str, Any]) -> Filter:
    """What answers: uploads alone, or with a page, or with a gallery that takes them over."""
    if args.gallery:
        from ..site import gallery

        directory = args.directory or os.environ.get("TUS_TMP_FILE_DIR")
        return gallery.with_uploads(args.gallery, directory, operators=args.operators, host=args.host or HOST, **given)
    given.setdefault("upload_path", os.environ.get("TUS_UPLOAD_PATH", "/files"))
    given.update(kept(args))
    if args.no_page:
        from ..adapters.wsgi import Filter

        return Filter(None, **given)
    from ..site import site

    return site.with_uploads(operators=args.operators, host=args.host or HOST, **given)


def _server_options(args: argparse.Namespace, *, waits: bool = False) -> dict[str, Any]:
    """`waits`: requests wait for something, which is thumbnails or a store that is far away."""
    from ..server.serving import WHERE, passed

    chosen = dict(pair.partition("=")[::2] for pair in args.set)
    if not WHERE & set(chosen) and (args.host or args.port or not passed()):
        host = args.host or HOST
        chosen["listen"] = f"{f'[{host}]' if ':' in host else host}:{args.port or PORT}"
    if waits and (args.http1 or not secure.asked(args)):
        chosen.setdefault("threads", _MANY_THREADS)
    return {"workers": args.workers, **chosen}


def _limits(options: Options) -> dict[str, Any]:
    """Those of our own server, which receives bodies by itself."""
    chosen = {name: getattr(options, name) for name in LIMITS if options.chosen(name)}
    return {name: value or 0 for name, value in chosen.items() if value is not None or name == "body_min_rate"}


def _serve_ini(args: argparse.Namespace, given: dict[str, Any]) -> int:
    """What the ini says, in `[server:main]` too."""
    from paste.deploy import loadapp
    from paste.deploy.loadwsgi import SERVER, loadcontext

    from ..server import paste_main

    serve = secure.server(args)
    if given or args.set:
        raise OptionError("with an ini file, put the options into that file")
    uri = "config:" + os.path.abspath(args.directory)
    Options({})  # a wrong TUS_… variable should be named before anything else is
    app = loadapp(uri)
    link = _link(app)
    announce = partial(_announce, link)
    app = _logged(_login(app, args) or app, args)
    try:
        section = loadcontext(SERVER, uri)
    except LookupError:
        serve(app, on_listening=announce, **_server_options(args))
        return 0
    if section.object is paste_main:
        serve(app, on_listening=announce, **section.local_conf)
    elif secure.asked(args):
        raise OptionError("with another server in the ini, give TLS to that one")
    else:
        _announce_operators(link, [""])
        section.create()(app)
    return 0


def _announce(link: str, urls: list[str]) -> None:
    for url in urls:
        print(f"tus: listening on {url}", flush=True)
    _announce_operators(link, urls)


def _announce_operators(link: str, urls: list[str]) -> None:
    """How operators get in: a person who sees what the server prints is one."""
    if link:
        print(f"tus: operators open {urls[0].rstrip('/')}/{link}", flush=True)


def _link(app: App) -> str:
    from ..site.operators import operators_link

    return operators_link(app)
