"""The options as keywords, so that editors complete them and type checkers find a slip.

Written by `make readme` from the table in `options`; never change it by hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, TypedDict

from .hooks import Hooks
from .lockers import Locker
from .stores import Store


class TusOptions(TypedDict, total=False):
    """What `Tus` takes by keyword, besides what it takes by position."""

    store: Store | str | None
    """Where uploads are kept instead, as a URL: `file:///var/uploads`, `memory:`, `s3://bucket/prefix`,
    `azblob://container/prefix`, or what an installed package brings; in Python also an object
    (docs/extending.rst). Default: files in `tmp_file_dir`."""
    locker: Locker | str | None
    """Who decides which request may write, as a URL or an object. Default: what fits the store; files and memory
    have a locker each, and other stores get one for a single process."""
    file_mode: int | str | None
    """Who may read a file of uploaded bytes, in octal digits as for `chmod`, whatever the umask says: `0640` lets
    the group read it. Only the server can read records."""
    directory_mode: int | str | None
    """The same for `tmp_file_dir`, if the server makes it: `0750` lets the group in. An existing directory stays
    as it is."""
    upload_path: str | None
    """URL path that takes uploads, below the place where the application is mounted."""
    public_url: str | None
    """The URL of `upload_path` as clients see it, if nothing in the request says so."""
    location: Literal["auto", "url", "path"]
    """What `Location` holds: an absolute URL, an absolute path, or whichever is certain to be right. One of
    `auto`, `url` and `path`."""
    trusted_proxies: str | Iterable[str] | None
    """Addresses or networks whose `Forwarded` and `X-Forwarded-*` headers are believed; `unix`, or `*` for
    any."""
    max_size: int | str | None
    """Most bytes that an upload may have."""
    chunk_size: int | str | None
    """Most bytes that one request should bring, where something in front takes no more (Cloudflare: 90MB). Our
    page and clients of the IETF draft keep to it; a longer request that arrives is taken."""
    upload_valid_duration: float | str | None
    """How long an unfinished upload is kept after its last byte; seconds, or 90s, 30min, 2h, 7d, none."""
    sweep_interval: float | str | None
    """How often a process looks for expired uploads; none leaves that to `tus sweep`."""
    refused_valid_duration: float | str | None
    """How long a file is kept that the application or a hook refused, so that its client hears the reason each
    time it asks; none for ever."""
    sweep_finished: bool | str
    """Let finished uploads expire too, and those that the application has not taken yet."""
    durable: Literal["none", "finish", "always"]
    """What is forced to the disk and when: see Durability. One of `none`, `finish` and `always`."""
    hand_over: Literal["path", "file", "form", "url", "none"]
    """How the application behind the filter gets a finished file: its path as the body, the file as the body, a
    form as a browser sends it, a URL where it can be fetched for a while, or not at all. With a store that keeps
    no files, the default is `file`; `url` needs one such as `s3:`, and makes false the default of `cleanup`. One
    of `path`, `file`, `form`, `url` and `none`."""
    draft_targets: str | Iterable[str] | None
    """What else takes resumable uploads by the IETF draft: paths and methods of the application, such as `/photos
    POST:/albums/* PUT`. It sees the original request once its body is whole."""
    uploaders: str | Iterable[str] | None
    """Which protocols are spoken besides tus, each at its own address below `upload_path`: `chunks` (flow.js,
    resumable.js, Dropzone, plupload), `filepond`, `form` for any browser, and `progress`."""
    legacy: bool | str
    """Also speak tus 0.2 with clients that send `Final-Length` or `Entity-Length`."""
    interim_responses: bool | str | None
    """Send `104 (Upload Resumption Supported)`, by which phones learn where to resume: `auto` where TLS ends here
    and nothing shows a proxy; `true` everywhere, behind HAProxy or Caddy at most, since nginx takes a 104 for the
    final answer; `false` nowhere."""
    trailers: bool | str
    """Announce `checksum-trailer` behind a proxy as well, which has to pass trailers on; most drop them."""
    send_file: bool | str
    """Short for `hand_over = file`."""
    cleanup: bool | str
    """Remove the file once the application has answered with success; the record stays until it expires."""
    pass_body: bool | str
    """Pass the application's body to the client, as 200, instead of 204."""
    download: bool | str
    """Let GET fetch a finished upload; with `live` also one that still arrives, as far as it is and then as it
    comes (docs/live.rst)."""
    live_timeout: float | str | None
    """How long a GET of an upload that still arrives waits for its next byte before it is cut; none for ever."""
    live_readers: int | str
    """How many of these may hold a thread of one process where the server gives each one; more get `503`. Neither
    `tus serve` nor ASGI needs threads for them."""
    uploads_limit: int | str | None
    """Bodies that may arrive at the same time in one process, under ASGI and `tus serve`; more get `503` with
    `Retry-After`. `auto`: four fifths of the connections that there can be."""
    uploads_per_address: int | str | None
    """Of these, bodies from one address, so that it takes several to keep others from uploading. `auto`: a
    quarter."""
    body_timeout: float | str | None
    """How long a body may be silent, under ASGI and `tus serve`, before it ends with what has arrived."""
    body_min_rate: int | str | None
    """Bytes a second that a body must bring there, over `body_timeout`, or it ends the same way; none for any."""
    redirect_downloads: bool | str
    """Send a GET of a finished upload to the storage itself, which has to be one such as `s3:`, by a URL that is
    valid for a while."""
    link_valid_duration: float | str | None
    """How long such a URL is valid, and that of `hand_over = url`; at most 7d."""
    termination: bool | str
    """Let DELETE remove an upload."""
    remove_parts: bool | str
    """Remove partial uploads once they are concatenated; they cannot be used again then."""
    hooks: Hooks | type[Hooks] | str | None
    """An object with the methods of `tus.Hooks`, or its name: `package.module:name`."""
    cors: bool | str
    """Answer browsers of other origins; switch it off where something in front answers them."""
    cors_origins: str | Iterable[str] | None
    """Origins that may call: `https://a.example`, `*` inside a host name, or `*` for all."""
    cors_credentials: bool | str
    """Let other origins send cookies; needs `cors_origins` to name them."""
    cors_headers: str | Iterable[str] | None
    """Further request headers that other origins may send."""
    cors_expose: str | Iterable[str] | None
    """Further response headers that other origins may read."""


class OptionsDict(TusOptions, total=False):
    """Every option, for `TusFilter`."""

    tmp_file_dir: str | os.PathLike[str] | None
    """Where uploads are kept. Default: a private directory in the system's temporary one, which a reboot may
    empty."""
