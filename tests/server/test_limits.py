"""How many bodies may arrive at once: those who send slowly lock nobody out, and who is refused loses nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.conftest import Running, until
from tests.server.test_parking import DATA, HALF, HEAD, Site, ear, site  # noqa: F401
from tus.errors import OptionError
from tus.http.senders import AGAIN, of_one
from tus.server.settings import Settings

FIRST = "X-Forwarded-For: 192.0.2.1\r\n"


def refusal(here: Site, path: str, headers: str = "") -> tuple[int, dict[str, str]]:
    """What an upload is told that may not begin."""
    return here.patch(path, len(DATA), DATA[:HALF], headers).headers()


def test_upload_beyond_the_limit_in_all_is_told_when_to_come_back(site: Any, caplog: Any) -> None:  # noqa: F811
    """The others go on; it has lost nothing, finds room later, and the log names the option."""
    here: Site = site({"uploads_limit": 2})
    begun = [here.begun() for _ in range(2)]
    path = here.create()

    with caplog.at_level(logging.WARNING):
        status, fields = refusal(here, path)
    offset = here.offset(path)
    for _, client in begun:
        client.send(DATA[HALF:])
    others = [client.answer()[0] for _, client in begun]
    until(lambda: not here.running.server.limits.bodies.count)
    again = here.patch(path, len(DATA), DATA).headers()[0]

    assert (status, fields["retry-after"], fields["connection"]) == (503, str(AGAIN), "close")
    assert (offset, others, again) == (0, [204, 204], 204)
    assert here.stored(path) == DATA
    assert "uploads_limit is 2" in caplog.text


@pytest.mark.parametrize(
    ("header", "one", "other"),
    [
        ("x-forwarded-for", FIRST, "X-Forwarded-For: 192.0.2.2\r\n"),
        ("forwarded", "Forwarded: for=192.0.2.1\r\n", 'Forwarded: for="[2001:db8::1]:80"\r\n'),
    ],
)
def test_one_address_leaves_room_for_others(site: Any, caplog: Any, header: str, one: str, other: str) -> None:  # noqa: F811
    """Behind a trusted proxy the client's own address counts."""
    proxy = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": header, "clear_untrusted_proxy_headers": True}
    here: Site = site({"uploads_per_address": 2, **proxy})
    for _ in range(2):
        here.begun(headers=one)
    path = here.create()

    with caplog.at_level(logging.WARNING):
        status, fields = refusal(here, path, one)
    _, client = here.begun(headers=other)
    client.send(DATA[HALF:])

    assert (status, fields["retry-after"]) == (503, str(AGAIN))
    assert client.answer()[0] == 204
    assert "192.0.2.1 is refused: uploads_per_address is 2" in caplog.text


def test_who_asks_is_answered_where_no_body_may_come(site: Any) -> None:  # noqa: F811
    """A HEAD and a small body are no crowd."""
    here: Site = site({"uploads_limit": 1})
    path, _ = here.begun()
    small = here.create(5)

    status = here.patch(small, 5, b"hello").headers()[0]

    assert status == 204
    assert here.offset(path) == HALF


def test_header_of_somebody_else_moves_nobody(site: Any) -> None:  # noqa: F811
    """Without a trusted proxy the connection counts, and on this machine that may be a proxy nobody told us of."""
    here: Site = site({"uploads_per_address": 1})
    begun = [here.begun(headers=FIRST) for _ in range(3)]

    for _, client in begun:
        client.send(DATA[HALF:])

    assert [client.answer()[0] for _, client in begun] == [204] * 3


@pytest.mark.parametrize("how", ["close", "reset"])
def test_body_that_was_cut_leaves_its_place(site: Any, how: str) -> None:  # noqa: F811
    """However it ends, the next one finds room."""
    here: Site = site({"uploads_limit": 1})
    for _ in range(3):
        _, client = here.begun()

        getattr(client, how)()

        until(lambda: not here.running.server.limits.bodies.count)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("unknown", "unknown"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("localhost", ""),
        ("", ""),
    ],
)
def test_addresses_of_one_customer_count_as_one(address: str, place: str) -> None:
    """Of IPv6 each has a network; what comes from this machine comes from a proxy."""
    assert of_one(address) == place


def test_limits_leave_room_for_others() -> None:
    """A fifth of the connections for those who only ask, and one address does not fill the rest."""
    settings = Settings(listen="127.0.0.1:0", connection_limit=1000)

    assert (settings.uploads_limit, settings.uploads_per_address) == (800, 200)
    with pytest.raises(OptionError, match="uploads_per_address"):
        Settings(listen="127.0.0.1:0", uploads_per_address=0)


def refuse(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("409 Conflict", [("Content-Length", "2")])
    return [b"no"]


@pytest.fixture
def refusing() -> Iterator[Running]:
    running = Running(refuse, drain_timeout=60)
    yield running
    running.finish()


def test_refused_bodies_have_no_thread(refusing: Running) -> None:
    """What still comes of them is discarded by the loop, and each client reads why."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
    clients = [refusing.connect().send(head, DATA) for _ in range(100)]

    answers = [client.answer()[::2] for client in clients]
    for client in clients:
        client.send(DATA)
    lingering = refusing.server.listeners[0].lingering
    until(lambda: len(lingering) == 100 and not refusing.server.uploads.channels)
    for client in clients:
        client.close()

    assert answers == [(409, b"no")] * 100
    until(lambda: not lingering)
