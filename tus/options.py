"""Every option, declared once: Python, paste ini, environment, command line and docs/options.rst come from this table.

Values are checked where the application is built, so that a wrong ini fails at start and not at the first upload.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import OptionError
from .values import (
    Choice,
    at_least_one,
    automatic,
    backend,
    directory,
    directory_mode,
    downloads,
    duration,
    file_mode,
    flag,
    networks,
    number,
    origins,
    size,
    targets,
    uploaders,
    url,
    url_path,
    whatever,
    words,
)

_LONGEST_LINK = 7 * 86400.0  # seconds, in S3
_SLIP = 0.9  # how alike a variable is to one of ours if it was meant to be it; TUS_UPLOAD_PORT is Kubernetes' own


@dataclass(frozen=True)
class Option:
    """One option."""

    name: str
    parse: Callable[[Any], Any]
    default: str
    text: str

    @property
    def meaning(self) -> str:
        """For people: the text, and what may be chosen."""
        if not isinstance(self.parse, Choice):
            return self.text
        *others, last = (f"`{choice}`" for choice in self.parse.choices)
        return f"{self.text} One of {', '.join(others)} and {last}."


OPTIONS = (
    Option("tmp_file_dir", directory, "", "Where uploads are kept. Default: a private directory in the system's temporary one, which a reboot may empty."),
    Option("store", backend, "", "Where uploads are kept instead, as a URL: `file:///var/uploads`, `memory:`, `s3://bucket/prefix`, `azblob://container/prefix`, or what an installed package brings; in Python also an object (docs/extending.rst). Default: files in `tmp_file_dir`."),
    Option("locker", backend, "", "Who decides which request may write, as a URL or an object. Default: what fits the store; files and memory have a locker each, and other stores get one for a single process."),
    Option("file_mode", file_mode, "0600", "Who may read a file of uploaded bytes, in octal digits as for `chmod`, whatever the umask says: `0640` lets the group read it. Only the server can read records."),
    Option("directory_mode", directory_mode, "0700", "The same for `tmp_file_dir`, if the server makes it: `0750` lets the group in. An existing directory stays as it is."),
    Option("upload_path", url_path, "/upload", "URL path that takes uploads, below the place where the application is mounted."),
    Option("public_url", url, "", "The URL of `upload_path` as clients see it, if nothing in the request says so."),
    Option("location", Choice("auto", "url", "path"), "auto", "What `Location` holds: an absolute URL, an absolute path, or whichever is certain to be right."),
    Option("trusted_proxies", networks, "", "Addresses or networks whose `Forwarded` and `X-Forwarded-*` headers are believed; `unix`, or `*` for any."),
    Option("max_size", size, "none", "Most bytes that an upload may have."),
    Option("chunk_size", size, "none", "Most bytes that one request should bring, where something in front takes no more (Cloudflare: 90MB). Our page and clients of the IETF draft keep to it; a longer request that arrives is taken."),
    Option("upload_valid_duration", duration, "7d", "How long an unfinished upload is kept after its last byte; seconds, or 90s, 30min, 2h, 7d, none."),
    Option("sweep_interval", duration, "1h", "How often a process looks for expired uploads; none leaves that to `tus sweep`."),
    Option("refused_valid_duration", duration, "1h", "How long a file is kept that the application or a hook refused, so that its client hears the reason each time it asks; none for ever."),
    Option("sweep_finished", flag, "false", "Let finished uploads expire too, and those that the application has not taken yet."),
    Option("durable", Choice("none", "finish", "always"), "finish", "What is forced to the disk and when: see Durability."),
    Option("hand_over", Choice("path", "file", "form", "url", "none"), "path", "How the application behind the filter gets a finished file: its path as the body, the file as the body, a form as a browser sends it, a URL where it can be fetched for a while, or not at all. With a store that keeps no files, the default is `file`; `url` needs one such as `s3:`, and makes false the default of `cleanup`."),
    Option("draft_targets", targets, "", "What else takes resumable uploads by the IETF draft: paths and methods of the application, such as `/photos POST:/albums/* PUT`. It sees the original request once its body is whole."),
    Option("uploaders", uploaders, "chunks filepond form progress", "Which protocols are spoken besides tus, each at its own address below `upload_path`: `chunks` (flow.js, resumable.js, Dropzone, plupload), `filepond`, `form` for any browser, and `progress`."),
    Option("legacy", flag, "false", "Also speak tus 0.2 with clients that send `Final-Length` or `Entity-Length`."),
    Option("interim_responses", automatic, "auto", "Send `104 (Upload Resumption Supported)`, by which phones learn where to resume: `auto` where TLS ends here and nothing shows a proxy; `true` everywhere, behind HAProxy or Caddy at most, since nginx takes a 104 for the final answer; `false` nowhere."),
    Option("trailers", flag, "false", "Announce `checksum-trailer` behind a proxy as well, which has to pass trailers on; most drop them."),
    Option("send_file", flag, "false", "Short for `hand_over = file`."),
    Option("cleanup", flag, "true", "Remove the file once the application has answered with success; the record stays until it expires."),
    Option("pass_body", flag, "false", "Pass the application's body to the client, as 200, instead of 204."),
    Option("download", downloads, "true", "Let GET fetch a finished upload; with `live` also one that still arrives, as far as it is and then as it comes (docs/live.rst)."),
    Option("live_timeout", duration, "5min", "How long a GET of an upload that still arrives waits for its next byte before it is cut; none for ever."),
    Option("live_readers", number, "16", "How many of these may hold a thread of one process where the server gives each one; more get `503`. Neither `tus serve` nor ASGI needs threads for them."),
    Option("uploads_limit", at_least_one, "auto", "Bodies that may arrive at the same time in one process, under ASGI and `tus serve`; more get `503` with `Retry-After`. `auto`: four fifths of the connections that there can be."),
    Option("uploads_per_address", at_least_one, "auto", "Of these, bodies from one address, so that it takes several to keep others from uploading. `auto`: a quarter."),
    Option("body_timeout", duration, "1min", "How long a body may be silent, under ASGI and `tus serve`, before it ends with what has arrived."),
    Option("body_min_rate", size, "100", "Bytes a second that a body must bring there, over `body_timeout`, or it ends the same way; none for any."),
    Option("redirect_downloads", flag, "false", "Send a GET of a finished upload to the storage itself, which has to be one such as `s3:`, by a URL that is valid for a while."),
    Option("link_valid_duration", duration, "1h", "How long such a URL is valid, and that of `hand_over = url`; at most 7d."),
    Option("termination", flag, "true", "Let DELETE remove an upload."),
    Option("remove_parts", flag, "false", "Remove partial uploads once they are concatenated; they cannot be used again then."),
    Option("hooks", whatever, "", "An object with the methods of `tus.Hooks`, or its name: `package.module:name`."),
    Option("cors", flag, "true", "Answer browsers of other origins; switch it off where something in front answers them."),
    Option("cors_origins", origins, "*", "Origins that may call: `https://a.example`, `*` inside a host name, or `*` for all."),
    Option("cors_credentials", flag, "false", "Let other origins send cookies; needs `cors_origins` to name them."),
    Option("cors_headers", words, "", "Further request headers that other origins may send."),
    Option("cors_expose", words, "", "Further response headers that other origins may read."),
)  # fmt: skip

LIMITS = ("uploads_limit", "uploads_per_address", "body_timeout", "body_min_rate")  # for whoever receives bodies
BY_NAME = {option.name: option for option in OPTIONS}


class Options:
    """The options of one application, parsed and checked; read them as attributes."""

    tmp_file_dir: str
    store: Any
    locker: Any
    file_mode: int
    directory_mode: int
    upload_path: str
    public_url: str
    location: str
    trusted_proxies: tuple[str, ...]
    max_size: int | None
    chunk_size: int | None
    upload_valid_duration: float | None
    sweep_interval: float | None
    refused_valid_duration: float | None
    sweep_finished: bool
    durable: str
    hand_over: str
    draft_targets: tuple[str, ...]
    uploaders: tuple[str, ...]
    legacy: bool
    interim_responses: bool | None  # None: where it is safe
    trailers: bool
    send_file: bool
    cleanup: bool
    pass_body: bool
    download: bool | str  # or "live"
    live_timeout: float | None
    live_readers: int
    uploads_limit: int | None  # None: what fits
    uploads_per_address: int | None
    body_timeout: float
    body_min_rate: int | None
    redirect_downloads: bool
    link_valid_duration: float
    termination: bool
    remove_parts: bool
    hooks: Any
    cors: bool
    cors_origins: tuple[str, ...]
    cors_credentials: bool
    cors_headers: tuple[str, ...]
    cors_expose: tuple[str, ...]

    def __init__(self, given: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        """Take what is given, then `TUS_…` from `environ`, then the defaults."""
        given = dict(given or {})
        environ = os.environ if environ is None else environ
        for name in given:
            if name not in BY_NAME:
                raise OptionError(unknown(name))
        _check_variables(environ)
        self._near = {option.name: self._find(option, given, environ) for option in OPTIONS}
        self._settle(self._near)

    def chosen(self, name: str) -> bool:
        """Whether somebody gave this option, rather than leave its default."""
        return self._near[name] > 0

    def _find(self, option: Option, given: Mapping[str, Any], environ: Mapping[str, str]) -> int:
        """Read one option, and say how near it was said: 2 explicitly, 1 in the environment, 0 nowhere."""
        value, variable = given.get(option.name), f"TUS_{option.name.upper()}"
        # Here None says that there is no limit; elsewhere, that nothing is said.
        if value is not None or option.name in given and option.parse in (size, duration):
            near, where = 2, option.name
        elif variable in environ:
            near, where, value = 1, variable, environ[variable]
        else:
            near, where, value = 0, option.name, option.default
        setattr(self, option.name, _parsed(option, where, value))
        return near

    def _settle(self, near: Mapping[str, int]) -> None:
        """What two options say together. Of two that contradict each other, the one that was said nearer holds."""
        if self.send_file and near["send_file"] == near["hand_over"] and self.hand_over != "file":
            raise OptionError(f"send_file = true and hand_over = {self.hand_over} contradict each other")
        if near["send_file"] > near["hand_over"] and self.send_file != (self.hand_over == "file"):
            self.hand_over = "file" if self.send_file else BY_NAME["hand_over"].default
        self.send_file = self.hand_over == "file"
        if self.hand_over == "url" and not near["cleanup"]:
            self.cleanup = False  # who fetches the file does so later
        if not 1 <= (self.link_valid_duration or 0) <= _LONGEST_LINK:
            raise OptionError("option link_valid_duration: has to be from 1s to 7d: no storage signs URLs for longer")
        if not self.body_timeout:
            raise OptionError("option body_timeout: has to be a time: a client that is gone says nothing for ever")
        if self.cors_credentials and "*" in self.cors_origins:
            raise OptionError("cors_credentials = true needs cors_origins to name the origins, not *")
        self._settle_place(near)

    def _settle_place(self, near: Mapping[str, int]) -> None:
        """A directory and a store are two places, unless the store is the one of that directory."""
        if near["tmp_file_dir"] > near["store"]:
            self.store = ""
        named = isinstance(self.store, str) and self.store.lower().startswith("file:") and self.store.strip("/")[5:]
        if named and self.tmp_file_dir and near["tmp_file_dir"] == near["store"]:
            raise OptionError(f"tmp_file_dir = {self.tmp_file_dir} and store = {self.store} contradict each other")

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{o.name}={getattr(self, o.name)!r}' for o in OPTIONS)})"


def _parsed(option: Option, where: str, value: Any) -> Any:
    try:
        return option.parse(value)
    except ValueError as error:
        reason = str(error)
        if not reason.startswith(("is ", "does ", "has ")):
            reason = f"is wrong: {reason}"
        raise OptionError(f"option {where}: {value!r} {reason}") from None


def _check_variables(environ: Mapping[str, str]) -> None:
    """A variable that is nearly one of ours is a slip. Other programs may have variables that begin like ours."""
    ours = [f"TUS_{name.upper()}" for name in BY_NAME]
    for name in environ:
        if name.startswith("TUS_") and name not in ours and (near := difflib.get_close_matches(name, ours, 1, _SLIP)):
            raise OptionError(f"unknown variable {name}; did you mean {near[0]}?")


def unknown(name: str, names: Iterable[str] = BY_NAME) -> str:
    """The complaint about an option that does not exist, with the one that was probably meant."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), list(names), 1, 0.5)
    return f"unknown option {name}" + (f"; did you mean {near[0]}?" if near else "")
