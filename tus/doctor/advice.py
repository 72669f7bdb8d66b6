"""The texts of `tus check` about what to change, in the terms of the software that has to be changed."""

from __future__ import annotations

from .recognised import names

NGINX_HEADERS = (
    "nginx: proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme; and let "
    "the server trust the proxy (our option: trusted_proxies), or have it send paths only (location "
    "= path)"
)

REDIRECT = "give the URL that it redirects to; often only the slash at the end differs. Clients do not follow."
OPTIONS = (
    "no tus server is at this URL, or something in front answers OPTIONS itself (nginx: take `if "
    "($request_method = OPTIONS)` out of the location)"
)
OPTIONS_LOGIN = (
    "let OPTIONS through without a login: browsers send their preflight without credentials (nginx: "
    "`satisfy any`, or `limit_except OPTIONS` around the auth directives)"
)
CORS_OFF = "if pages of other origins must be able to upload, allow them in the server (our option: cors_origins)"
CORS_TWICE = (
    "server and proxy both add CORS headers, and browsers refuse that: take them out of one (nginx: "
    "the add_header lines, or proxy_hide_header Access-Control-Allow-Origin)"
)
CORS_ERRORS = (
    "browsers then see a network failure instead of the server's message: nginx: add `always` "
    "to the add_header lines, or leave CORS to the server"
)
MAX_SIZE = "the server should say Tus-Max-Size in its answer to OPTIONS, so that clients know before they try"
VERSION_REQUEST = (
    "a proxy removes Tus-Resumable from requests: let all headers pass (nginx: no "
    "`proxy_pass_request_headers off`; CDNs: forward Tus-*, Upload-* and X-HTTP-Method-Override)"
)
VERSION_ANSWER = (
    "a proxy removes Tus-Resumable from answers: let all headers pass (nginx: no proxy_hide_header "
    "for Tus-* and Upload-*)"
)
SCHEME = f"browsers refuse to go from https to http: tell the server about the TLS before it. {NGINX_HEADERS}"
HOST = f"the server does not know the name by which clients call it. {NGINX_HEADERS}"
PUBLIC = "set the server's public URL (our option: public_url)"
PREFIX = (
    "the proxy cuts a prefix off the path, or adds one, and the server does not know: nginx: "
    "proxy_pass without a path after the host, or proxy_set_header X-Forwarded-Prefix; or set the "
    "server's public URL (our option: public_url)"
)
HEAD = "something in between changes the answer to HEAD, or turns HEAD into GET (nginx: proxy_cache_convert_head off)"
READER = "a reader should not take the upload over: let the server answer GET without waiting for the writer"
IETF = "iPhones and Macs speak it; where they matter, serve with something that does, too"
INTERIM_BROKEN = "nginx: let the server send none (our option: interim_responses = auto, or false)"
INTERIM_LATE = (
    "Apache does this, and has no setting for it: put HAProxy or Caddy in its place, or let TLS end at the server"
)
PATCH = (
    "something before the server blocks PATCH: allow it (nginx: limit_except; Apache: "
    "<LimitExcept>; ModSecurity: tx.allowed_methods; CDN: allowed methods), or set "
    "overridePatchMethod: true in tus-js-client"
)
OVERRIDE = "only clients behind firewalls that block PATCH need it; if you have any, let X-HTTP-Method-Override through"
LOSS = "an interrupted client sends the rest again; the server loses what it had read but not yet stored"
EARLY = "something refuses the request before the tus server sees its body"
BUSY = (
    "a client that lost its connection is locked out for that long: the server should end the older "
    "request when a new one comes. A server that answers one request at a time cannot (gunicorn: "
    "--worker-class gthread); else lower the time after which a silent connection is closed (nginx: "
    "client_body_timeout)"
)
RESUME = (
    "the server does not keep the offset that it told; this happens when several machines share a directory over a "
    "network: use one machine (our servers: docs/file-systems.rst)"
)
SEND = (
    "look into the logs of the proxy and of the server; time limits are common (nginx: "
    "proxy_read_timeout, client_body_timeout)"
)
CONFLICT = (
    "clients need the 409 to resume; a proxy turns it into 502 when the server closes without reading "
    "the body, so the server must read on for a while, or linger"
)
CHUNKED = "only programs that do not know the length in advance need it (curl -T -, some iOS versions)"
CHUNKED_WRONG = "the server stores something other than what was sent: it must refuse chunked bodies (411)"
EXPECT = "curl sends this header with larger bodies: the proxy or server must answer 100, or ignore it"
EXPECT_SILENT = "curl and others wait a second before each body; better answer 100 Continue"
DELETE = "the server offers DELETE, but something before it blocks it (nginx: limit_except; CDN: allowed methods)"

_BUFFERS = {
    "nginx": (
        "nginx: `proxy_request_buffering off; proxy_http_version 1.1;` (uwsgi_pass: `uwsgi_request_buffering off;`)"
    ),
    "apache": "Apache: no `proxy-sendcl`, no mod_buffer, no mod_security with SecRequestBodyAccess On for this path",
    "waitress": "waitress reads a whole request before the application runs: use `tus serve` or gunicorn",
    "hypercorn": "hypercorn reads a whole request before a WSGI application runs: use `tus serve` or gunicorn",
    "cloudflare": "Cloudflare reads a whole request first: use small chunks (our option: chunk_size = 16MB)",
    "varnish": "Varnish: no std.cache_req_body; `return (pipe);` in vcl_recv for this path",
    "envoy": "Envoy: no filter envoy.filters.http.buffer on this route",
    "caddy": "Caddy: no `request_buffers` in reverse_proxy",
    "haproxy": "HAProxy: no `option http-buffer-request`",
}

_LIMITS = {
    "nginx": "nginx: `client_max_body_size 0;`",
    "apache": "Apache, where it runs the application itself: LimitRequestBody 0",
    "waitress": "waitress: max_request_body_size, --max-request-body-size",
    "hypercorn": "hypercorn: wsgi_max_body_size; better `tus serve` or gunicorn, which keep no body in memory",
    "cloudflare": "Cloudflare: the limit belongs to the plan (100 MB and more): chunk_size = 90MB",
    "caddy": "Caddy: no `request_body { max_size }`",
}

_CACHES = {
    "nginx": "nginx: `proxy_cache off;` in the location of uploads",
    "varnish": 'Varnish: `if (req.url ~ "^/files") { return (pipe); }` in vcl_recv',
    "cloudflare": "Cloudflare: a cache rule with `Bypass cache` for this path",
    "cloudfront": "CloudFront: the cache policy CachingDisabled for this path",
    "apache": "Apache: CacheDisable /files",
}

_TURNS = {  # what makes a GET of a HEAD
    "varnish": "Varnish turns HEAD into GET unless vcl_recv says `return (pass);` or `return (pipe);` for this path",
    "nginx": "nginx with proxy_cache turns HEAD into GET: `proxy_cache off;` or `proxy_cache_convert_head off;`",
}

_WINDOWS = {
    "nginx": "nginx: `http2_body_preread_size 1m; client_body_buffer_size 1m;`",
    "apache": "Apache: H2WindowSize 1048576",
    "haproxy": "HAProxy: tune.h2.initial-window-size 1048576 (2.9 and newer: tune.h2.fe.initial-window-size)",
    "envoy": "Envoy: http2_protocol_options: {initial_stream_window_size: 1048576}",
}

_TRAILERS = {
    "nginx": "nginx drops trailers, and has no setting for it",
    "caddy": "Caddy drops trailers, and has no setting for it",
    "apache": "Apache drops trailers and their announcement: refuse such requests (docs/proxies.rst)",
    "varnish": "Varnish: `return (pipe);` in vcl_recv for this path",
    "envoy": "Envoy: enable_trailers: true, on both sides",
}

_INTERIMS = {
    "nginx": "nginx has no setting for it: put HAProxy or Caddy in its place, or let TLS end at the server",
    "caddy": "Caddy passes it on: let the server send it (our option: interim_responses = true)",
    "varnish": "Varnish: `return (pipe);` in vcl_recv, and our option: interim_responses = true",
}


def _for(server: str, texts: dict[str, str]) -> str:
    """What fits the software that names itself, or everything when it does not."""
    known = [texts[name] for name in names(server) if name in texts]
    return " | ".join(known or texts.values())


def cache(server: str) -> str:
    return f"a cache could tell a client an old offset: keep it away from uploads. {_for(server, _CACHES)}"


def vanished(server: str) -> str:
    """Requests that find no upload: a cache may be the cause, or several servers."""
    several = (
        "if several servers stand behind one address, they must share a store, or the proxy must send a client to the "
        "same one every time (nginx: ip_hash; our servers: docs/scaling.rst, docs/file-systems.rst)"
    )
    return f"{_for(server, _TURNS)}; {several}"


def windows(server: str) -> str:
    return f"let a client be further ahead. {_for(server, _WINDOWS)}"


def trailers(server: str) -> str:
    text = "clients that look at Tus-Extension send none unless checksum-trailer is announced (our option: trailers)"
    return f"{_for(server, _TRAILERS)}; {text}"


def interim_hint(server: str) -> str:
    known = [_INTERIMS[name] for name in names(server) if name in _INTERIMS]
    return (
        "; ".join(known) or "let the server send it where all proxies pass it on (our option: interim_responses = true)"
    )


def buffering(server: str) -> str:
    return (
        "a proxy or the application's server reads whole requests before it passes them on, so a broken "
        f"upload begins again from the last chunk. {_for(server, _BUFFERS)}; and check what stands behind it"
    )


def limit(server: str) -> str:
    return (
        f"clients send a whole file in one request unless told otherwise. {_for(server, _LIMITS)}; "
        "or give clients a chunk size below the limit (chunkSize, tus put --chunk-size)"
    )


def create(status: int, url: str) -> str:
    if status in (401, 403):
        return "it requires a login: give it with TUS_LOGIN=name:password or --header 'Authorization: ...'"
    if status in (404, 405):
        other = url.rstrip("/") if url.endswith("/") else url + "/"
        return f"this is not where uploads are created; try {other}"
    if 300 <= status < 400:
        return REDIRECT
    return "look into the log of the server"


def cors_allow(missing: list[str]) -> str:
    return f"add {', '.join(missing)} to Access-Control-Allow-Methods or -Headers, or leave CORS to the server"


def cors_expose(missing: list[str]) -> str:
    return f"add {', '.join(missing)} to Access-Control-Expose-Headers, or leave CORS to the server"
