"""The options of `tus serve` for HTTPS, and for the server that speaks HTTP/2."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..client.remembered import home
from ..errors import OptionError

if TYPE_CHECKING:
    from ..https.certificates import Pair

_OPTIONS = ("tls_cert", "tls_key", "tls_self_signed", "http1", "http3", "asgi")
_NEEDS = ("granian", "cryptography")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("HTTPS and HTTP/2, which need pip install 'tus[asgi]'").add_argument
    add("--asgi", action="store_true", help="serve by granian, which speaks HTTP/2; the options below ask for it, too")
    add("--tls-cert", metavar="FILE", help="the certificate and those that lead to its authority, in PEM; "
        "SIGHUP reads it again, and cuts no upload")  # fmt: skip
    add("--tls-key", metavar="FILE", help="its private key (default: in the same file)")
    add("--tls-self-signed", action="store_true", help="make a certificate for a first try, and print its fingerprint")
    add("--http1", action="store_true", help="HTTP/1.1 alone, by our own server: broken uploads of iPhones resume, and "
        "all options of the server count")  # fmt: skip
    add("--http3", action="store_true", help="HTTP/3 beside it, on the same port of UDP (pip install 'tus[http3]')")


def asked(args: argparse.Namespace) -> bool:
    """Whether another server is wanted than our own without TLS."""
    return any(getattr(args, name) for name in _OPTIONS)


def server(args: argparse.Namespace) -> Callable[..., None]:
    """What serves: our own server, or one of ASGI."""
    if not asked(args):
        from ..server import serve as ours

        return ours
    for module in _NEEDS:
        if find_spec(module) is None:
            raise OptionError(f"option {_first(args)}: {module} is not installed: pip install 'tus[asgi]'")
    from ..https import serve_asgi

    pair = _pair(args)
    if args.http1:
        return partial(_announced, _http1(args, pair), pair)
    if args.http3 and not pair:
        raise OptionError("option --http3: QUIC is always encrypted: add --tls-cert FILE, or --tls-self-signed")
    if args.http3 and find_spec("aioquic") is None:
        raise OptionError("option --http3: aioquic is not installed: pip install 'tus[http3]'")
    return partial(_announced, partial(serve_asgi, http3=args.http3), pair)


def _http1(args: argparse.Namespace, pair: Pair | None) -> Callable[..., None]:
    from ..https.front import serve_http1

    if not pair:
        raise OptionError("option --http1: without TLS that is what is served: add --tls-cert FILE, or leave it out")
    if args.http3 or args.asgi:
        raise OptionError(f"option --http1: it excludes --{'http3' if args.http3 else 'asgi'}; choose one")
    return serve_http1


def _first(args: argparse.Namespace) -> str:
    """The option that asks for it."""
    return next(f"--{name.replace('_', '-')}" for name in _OPTIONS if getattr(args, name))


def _pair(args: argparse.Namespace) -> Pair | None:
    from ..https.certificates import Pair, self_signed

    if args.tls_self_signed:
        if args.tls_cert or args.tls_key:
            raise OptionError("option --tls-self-signed: there is a certificate already, by --tls-cert; take one")
        return self_signed(home(os.environ), [args.host] if args.host else [], datetime.now(timezone.utc))
    if args.tls_key and not args.tls_cert:
        raise OptionError("option --tls-key: a key needs its certificate: --tls-cert FILE")
    return Pair(args.tls_cert, args.tls_key or args.tls_cert) if args.tls_cert else None


def _announced(
    serve: Callable[..., None], pair: Pair | None, app: Any, *, on_listening: Callable[[list[str]], Any], **options: Any
) -> None:
    def announce(urls: list[str]) -> None:
        on_listening(urls)
        if pair:
            from ..https.certificates import sha256_of

            print(f"tus: tus put --fingerprint {sha256_of(pair)} trusts this certificate", flush=True)

    serve(app, on_listening=announce, pair=pair, **options)
