"""The texts of `tus check` about what to change, in the terms of the software that has to be changed."""

from __future__ import annotations

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
LOST = (
    "if several servers stand behind one address, the proxy must send a client to the same one every time (nginx: "
    "ip_hash); processes and containers of one machine can share a directory, several machines must not (our servers: "
    "docs/file-systems.rst)"
)
HEAD = "something in between changes the answer to HEAD, or turns HEAD into GET (nginx: proxy_cache_convert_head off)"
CACHE = "a cache could tell a client an old offset: keep caches away from uploads (nginx: proxy_cache off; CDN: bypass)"
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
        "nginx: proxy_request_buffering off; proxy_http_version 1.1; (with uwsgi_pass: uwsgi_request_buffering off;)"
    ),
    "apache": ("Apache: no `proxy-sendcl`, no mod_buffer, no mod_security with SecRequestBodyAccess On for this path"),
    "waitress": "waitress reads a whole request before the application runs: use `tus serve` or gunicorn",
    "cloudflare": "Cloudflare reads a whole request first: use small chunks (chunkSize in tus-js-client)",
    "haproxy": "HAProxy: no `option http-buffer-request`",
}

_LIMITS = {
    "nginx": "nginx: client_max_body_size 0",
    "apache": "Apache: LimitRequestBody 0",
    "waitress": "waitress: max_request_body_size, --max-request-body-size",
    "cloudflare": "Cloudflare: the limit belongs to the plan (100 MB and more): use smaller chunks",
}


def _for(server: str, texts: dict[str, str]) -> str:
    """What fits the software that names itself, or everything when it does not."""
    return next((text for name, text in texts.items() if name in server), "; ".join(texts.values()))


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
