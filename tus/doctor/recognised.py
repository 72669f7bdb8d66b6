"""Which software is in the way, by what it says of itself in its answers. HAProxy and Apache say nothing."""

from __future__ import annotations

from ..client.wire import Answer

_SIGNS = {  # a header that only this software sends
    "x-varnish": "varnish",
    "cf-ray": "cloudflare",
    "x-envoy-upstream-service-time": "envoy",
    "x-amz-cf-id": "cloudfront",
}
# In this order: what stands in front overwrites Server, and adds to Via.
KNOWN = ("cloudflare", "cloudfront", "varnish", "nginx", "caddy", "apache", "envoy", "haproxy", "hypercorn", "waitress")


def self_description(answer: Answer) -> str:
    """What says who answered, in lower case."""
    signs = [name for header, name in _SIGNS.items() if answer.header(header)]
    return " ".join([answer.header("Server"), answer.header("Via"), *signs]).lower().strip()


def names(said: str) -> list[str]:
    """The software that is known to us."""
    said = said.replace("openresty", "nginx").replace("tengine", "nginx")
    return [name for name in KNOWN if name in said]
