"""What the environment says of the way to a server: proxies, as curl understands them, and the logins of ~/.netrc."""

from __future__ import annotations

import base64
import os
import socket
import sys
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

_LONGEST = 1 << 16  # bytes of an answer to CONNECT


class ProxyFailed(OSError):
    """The proxy does not let us through; `hopeless` when trying again cannot help."""

    def __init__(self, sentence: str, *, hopeless: bool = False) -> None:
        super().__init__(sentence)
        self.hopeless = hopeless


@dataclass(frozen=True)
class Proxy:
    """Where requests go instead of to the server, and what the proxy wants to know."""

    url: SplitResult
    headers: dict[str, str]

    def tunnel(self, sock: socket.socket, host: str, port: int) -> None:
        """Have the proxy connect this socket to the server."""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LONGEST:
            if not (data := sock.recv(4096)):
                break
            head += data
        status = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2]
        if not status.startswith("2"):
            shown = "".join(c if c.isprintable() else "?" for c in status[:100]) or "nothing"
            # A client error will be the same the next time.
            text = f"the proxy {self.url.hostname} does not connect to {target}: it answers {shown}"
            raise ProxyFailed(text, hopeless=status.startswith("4"))


def proxy_for(url: SplitResult) -> Proxy | None:
    """What `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, or the system's settings, say for this URL."""
    if sys.platform not in ("darwin", "win32") and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # without loading what is large
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    said = proxies.get(url.scheme) or proxies.get("all")
    if not said or proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    try:
        found = urlsplit(said if "://" in said else f"http://{said}")
        _ = found.port  # refuses one that is no number
    except ValueError as error:
        raise ProxyFailed(f"what the environment says of a proxy is no URL: {error}", hopeless=True) from None
    if found.scheme != "http" or not found.hostname:
        raise ProxyFailed(f"{found.scheme}://{found.hostname} is not a proxy that begins with http://", hopeless=True)
    headers = {}
    if found.username is not None:
        pair = f"{unquote(found.username)}:{unquote(found.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return Proxy(found, headers)


def netrc_login(host: str) -> str:
    """`name:password` for this host from the file that NETRC names, or ~/.netrc; "" where it says nothing."""
    import netrc

    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        # Its entry `default` is for anonymous FTP: nobody wants to send that password to every host.
        found = netrc.netrc(path).hosts.get(host)
    except FileNotFoundError:
        return ""
    except (OSError, netrc.NetrcParseError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return f"{found[0]}:{found[2]}" if found else ""
