"""OPTIONS: what this server can do. It must answer anybody, whatever version they speak."""

from __future__ import annotations

import re

import pytest

from tests.conformance.client import Client

EXTENSIONS = {
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "termination",
    "concatenation",
    "concatenation-unfinished",
}


@pytest.mark.every_server
def test_options_is_200_and_names_the_versions(tus: Client) -> None:
    """The answer has no body, and a list of versions."""
    answer = tus.options()

    assert (answer.status, answer.body) == (200, b"")
    assert answer.list("Tus-Version") == ["1.0.0"]


@pytest.mark.every_server
def test_options_names_every_extension(tus: Client) -> None:
    """All the extensions are announced, each once; trailers only where the server shows them."""
    announced = tus.options().list("Tus-Extension")

    assert set(announced) - {"checksum-trailer"} == EXTENSIONS
    assert len(announced) == len(set(announced))
    if not tus.kind.trailers:
        assert "checksum-trailer" not in announced


@pytest.mark.every_server
def test_trailers_are_announced_where_the_server_shows_them(tus: Client) -> None:
    """A server that can read trailers says so."""
    if not tus.kind.trailers:
        pytest.skip(f"{tus.kind.name} hides trailers")

    assert "checksum-trailer" in tus.options().list("Tus-Extension")


@pytest.mark.parametrize("size", [0, 1, 5_000_000_000])
def test_options_tells_the_largest_size(collection, size: int) -> None:
    """A limit is announced as a plain number."""
    assert collection(max_size=size).options()["Tus-Max-Size"] == str(size)


def test_options_tells_no_size_without_a_limit(tus: Client) -> None:
    """Where there is no limit, none is announced."""
    assert "Tus-Max-Size" not in tus.options()


def test_options_names_the_checksum_algorithms(tus: Client) -> None:
    """The algorithms are lower-case words, sha1 among them."""
    algorithms = tus.options().list("Tus-Checksum-Algorithm")

    assert {"sha1", "md5", "sha256", "sha512", "crc32", "crc32c"} <= set(algorithms)
    assert all(re.fullmatch(r"[a-z0-9-]+", algorithm, re.ASCII) for algorithm in algorithms)


@pytest.mark.parametrize("version", [None, "1.0.0", "0.2.2", "nonsense", ""])
def test_options_ignores_the_version(tus: Client, version: str | None) -> None:
    """Whoever asks what we speak need not know it."""
    for url in (None, tus.create(5)):
        answer = tus.options(url, version=version)

        assert answer.status == 200
        assert answer.list("Tus-Version") == ["1.0.0"]


def test_options_works_on_uploads(tus: Client) -> None:
    """An upload's URL answers as the collection does, and so does that of an unknown one."""
    for url in (tus.create(5), f"{tus.path}/{'0' * 32}"):
        answer = tus.options(url)

        assert answer.status == 200
        assert set(answer.list("Tus-Extension")) >= EXTENSIONS


def test_options_without_termination_does_not_announce_it(collection) -> None:
    """What is switched off is not offered, and not done."""
    tus = collection(termination=False)
    url = tus.create(5)

    assert "termination" not in tus.options().list("Tus-Extension")
    assert tus.delete(url).status == 405
    assert tus.offset(url) == 0
