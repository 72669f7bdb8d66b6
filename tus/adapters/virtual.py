"""Where uploads are in a path that a proxy wrote for Zope's VirtualHostMonster:
`/VirtualHostBase/https/example.com:443/site/VirtualHostRoot/_vh_files/upload` is `https://example.com/files/upload`.

Only Zope gives such a path a meaning. In a process without Zope it must never be understood, or any client could walk
around what a proxy allows for `upload_path`.
"""

from __future__ import annotations

import re
import sys
from urllib.parse import quote

from ..http.address import PORTS

_MONSTER = re.compile(
    r"(?P<before>/VirtualHostBase/(?P<scheme>https?)/(?P<host>[^/]+)(?P<site>.*?)/VirtualHostRoot(?P<mount>(?:/_vh_[^/]*)*))"
    r"(?P<after>(?:/.*)?)"
)


def unmasked(path: str, root: str) -> tuple[str, str, str] | None:
    """The collection's own path, its public URL, and the path as if there was no monster; None if there is none.

    `root` is what the client sees below the mount, `/upload`, or where it is in Zope, `/site/upload`.
    """
    if not path.startswith("/VirtualHostBase/") or "ZPublisher" not in sys.modules:
        return None
    match = _MONSTER.fullmatch(path)
    if match is None:
        return None
    site, after = match["site"], match["after"]
    if site and f"{root}/".startswith(f"{site}/"):
        seen, plain = root.removeprefix(site), site + after
    else:
        seen, plain = root, after
    mount = quote(match["mount"].replace("/_vh_", "/").encode("latin-1", "replace"))
    host = match["host"].removesuffix(PORTS[match["scheme"]])
    return match["before"] + seen, f"{match['scheme']}://{host}{mount}{seen}", plain
