"""Who is asking: a page of ours or of somebody else, and which visitor it is, where nobody logs in.

A visitor is identified by what others cannot have: a random key of the page, a random name of the file, or a cookie of
ours. An address and a browser's name are shared by whole schools, so they never count.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from .cors import is_listed
from .errors import BadRequest, Refused
from .http.address import is_local, is_same
from .http.messages import Request
from .options import Options

_KEY = re.compile(r"[A-Za-z0-9_-]{8,128}")
_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
# HTTP/2 sends each cookie by itself, and some servers put a comma between them.
_COOKIE = re.compile(r"(?:^|[;,]) *(__Host-)?tus-visitor-[0-9a-f]{8}=([0-9a-f]{32}) *(?=[;,]|$)")
_COOKIES = 8  # a browser has as many as first requests that it sent at once
_REMEDY = (
    "if this is their own server, its proxy has to pass the Host (nginx: proxy_set_header Host $http_host) or to be one"
    " of trusted_proxies; if they are of another, name them in cors_origins, and cors_credentials for cookies"
)
_LIFE = 400 * 86400  # seconds; no browser keeps a cookie longer, and an upload may be kept for ever


def key_of(said: Mapping[str, str]) -> str:
    """`uploadKey`, as the page chose it; in any case of its name, as old pages had it. "" if there is none."""
    key = next((value for name, value in said.items() if name.lower() == "uploadkey"), "")
    if key and not _KEY.fullmatch(key):
        raise BadRequest("uploadKey is not made of 8 to 128 letters, digits, hyphens and underscores")
    return key


def visitor(request: Request, said: Mapping[str, str], name: str) -> tuple[str, ...]:
    """What only this visitor knows; several values, if any of them may have been sent before. () if nothing."""
    key = key_of(said)
    if key or _RANDOM.fullmatch(name):
        return (key,)
    if _is_foreign(request):
        return ()  # a neighbour's page would speak in the name of our visitor
    # The oldest cookie comes first (RFC 6265, 5.4), so that it stays the same while others arrive.
    found = _COOKIE.findall(request.headers.get("cookie", ""))
    # A neighbouring host can make a browser send us any number of cookies of its choice, but none of this kind.
    ours = [token for host, token in found if host]
    return tuple((ours or [token for _, token in found])[:_COOKIES])


def new_visitor(request: Request) -> tuple[str, str]:
    """A secret, and the cookie that keeps it. Each has a name of its own: a page that sends three requests at once
    gets three, and if one replaced the other, its chunks would part ways."""
    token = secrets.token_hex(16)
    cookie = f"tus-visitor-{secrets.token_hex(4)}={token}; Max-Age={_LIFE}; HttpOnly; SameSite=Strict"
    if request.origin().startswith("https:"):
        return token, f"__Host-{cookie}; Secure; Path=/"
    # Without a Path it holds for the directory of this request, as the browser sees it and whatever a proxy made of it.
    return token, cookie


def _is_foreign(request: Request) -> bool | None:
    """Whether the page of another site sent this, as the browser says; None if it does not say."""
    site = request.headers.get("sec-fetch-site")
    return None if site is None else site not in ("same-origin", "none")


def foreign(request: Request) -> bool:
    """Whether the page of another site sent this. What is no browser sends no Origin."""
    said, origin = _is_foreign(request), request.headers.get("origin")
    if said is not None or origin is None:
        return bool(said)
    return not is_same(request.headers.get("host", ""), origin) and origin != request.origin()


def check_origin(request: Request, options: Options) -> None:
    """Refuse what the page of somebody else sends in the name of our user. Browsers ask before they send what tus
    sends, but not before they send a form."""
    if not foreign(request):
        return
    origin = request.headers.get("origin", "")
    # Our own cookie never comes from another site.
    cookies = _COOKIE.sub("", request.headers.get("cookie", "")).strip("; ")
    known = request.user is not None or cookies or "authorization" in request.headers
    if not _may_send(request, options, origin) or known and not options.cors_credentials:
        where = request.headers.get("host", "this server")
        raise Refused(f"pages of {origin or 'other sites'} may not send this to {where}; {_REMEDY}", status=403)


def _may_send(request: Request, options: Options, origin: str) -> bool:
    """Whether pages of this origin may send forms here. Where only this machine can be meant, `*` lets no stranger
    in: any page in the world could ask the visitor's own browser."""
    if not is_local(request.headers.get("host", "")):
        return is_listed(options.cors_origins, origin)
    named = tuple(one for one in options.cors_origins if one != "*")
    return is_local(origin.partition("://")[2]) or is_listed(named, origin)
