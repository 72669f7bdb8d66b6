"""Digests of RFC 9530: of one request's content, and of the whole."""

from __future__ import annotations

import pytest

from tests.draft.client import PROBLEMS, Client, digest, problem

CONTENT = b"hello world"
ALGORITHMS = ("sha-256", "sha-512", "sha", "md5")
WRONG = digest(b"something else")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_matching_content_digest(client: Client, algorithm: str) -> None:
    """Content that is what its digest says is kept."""
    created = client.create(b"hello", headers={"Content-Digest": digest(b"hello", algorithm)})

    answer = client.append(
        created["Location"], 5, b" world", complete=True, headers={"Content-Digest": digest(b" world", algorithm)}
    )

    assert client.done(answer)
    assert client.files() == [CONTENT]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_content_digest_of_other_content(client: Client, algorithm: str) -> None:
    """Nothing of the request is kept, and the offset is what it was."""
    url = client.created(b"hello")

    answer = client.append(url, 5, b" w0rld", complete=True, headers={"Content-Digest": digest(b" world", algorithm)})

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "digest-mismatched-values")
    assert (answer["Upload-Offset"], client.done(answer)) == ("5", False)
    assert client.offset(url) == (5, False)
    assert client.handed() == []


def test_creation_with_other_content(client: Client) -> None:
    """Nothing is created."""
    answer = client.create(b"hello", headers={"Content-Digest": WRONG})

    assert (answer.status, "Location" in answer, client.done(answer)) == (400, False, False)
    assert client.uploads() == []


def test_every_digest_has_to_match(client: Client) -> None:
    """One right and one wrong is wrong; one right and one unknown is right."""
    url = client.created(b"")

    mixed = client.append(url, 0, b"hello", headers={"Content-Digest": f"{digest(b'hello', 'sha-512')}, {WRONG}"})
    unknown = client.append(url, 0, b"hello", headers={"Content-Digest": f"{digest(b'hello')}, id-crc=:AAAA:"})

    assert (mixed.status, unknown.status) == (400, 204)


@pytest.mark.parametrize("value", ["crc32c=:AAAAAA==:", "nonsense", "sha-256", "sha-256=abc", "sha-256=:a:, ,"])
def test_digests_that_say_nothing_to_us(client: Client, value: str) -> None:
    """Unknown algorithms are ignored, and so is a field that breaks the grammar."""
    assert client.create(b"hello", headers={"Content-Digest": value}).status == 201


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
def test_digest_that_no_content_has(client: Client, field: str) -> None:
    """The right grammar and the wrong size: refused before a byte is stored."""
    answer = client.create(b"hello", headers={field: "sha-256=:AAAA:"})

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "digest-invalid-values")
    assert problem(answer)["invalid-digests"][0]["algorithm"] == "sha-256"
    assert client.uploads() == []


def test_cut_request_with_a_digest_keeps_nothing(client: Client) -> None:
    """What came cannot be verified."""
    url = client.created(b"hello")
    headers = {**client.append_headers(5, True), "Content-Digest": digest(b" world")}

    with client.open("PATCH", url, headers, 6, b" wor") as connection:
        client.arrived(url, 9)
        connection.half_close()
        connection.rest()

    assert client.offset(url) == (5, False)


def test_digest_of_an_empty_completing_append(client: Client) -> None:
    """Even nothing has a digest."""
    url = client.created(CONTENT)

    wrong = client.append(url, 11, b"", complete=True, headers={"Content-Digest": WRONG})
    right = client.append(url, 11, b"", complete=True, headers={"Content-Digest": digest(b"")})

    assert (wrong.status, client.done(right)) == (400, True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_matching_repr_digest(client: Client, algorithm: str) -> None:
    """The whole is what was announced when it began, and whoever asks is told so."""
    url = client.created(b"hello", {"Repr-Digest": digest(CONTENT, algorithm)})

    answer = client.append(url, 5, b" world", complete=True)

    assert client.done(answer)
    assert answer["Repr-Digest"] == client.speaking(8).head(url)["Repr-Digest"] == digest(CONTENT, algorithm)
    assert "Repr-Digest" not in client.head(url)  # since interop 9, what HEAD answers is not what it is the digest of


def test_digests_in_each_version(each: Client) -> None:
    """They are the same in all."""
    url = each.created(b"hello", {"Repr-Digest": digest(CONTENT)})
    end = digest(b" world")

    wrong = each.append(url, 5, b" w0rld", complete=True, headers={"Content-Digest": end})
    right = each.append(url, 5, b" world", complete=True, headers={"Content-Digest": end})

    assert (wrong.status, each.done(wrong), each.done(right)) == (400, False, True)
    assert right["Repr-Digest"] == digest(CONTENT)


def test_repr_digest_of_another_whole(each: Client) -> None:
    """The upload fails, says so, says that this is final, and can never be used again; the application sees nothing."""
    url = each.created(b"hello", {"Repr-Digest": WRONG})

    answer = each.append(url, 5, b" world", complete=True)

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "digest-mismatched-values")
    assert each.done(answer)
    assert each.head(url).status == 410
    assert each.append(url, 11, b"", complete=True).status == 410
    assert each.handed() == []


def test_repr_digest_of_another_whole_in_one_request(client: Client) -> None:
    """Nothing remains."""
    answer = client.create(CONTENT, complete=True, headers={"Repr-Digest": WRONG})

    assert (answer.status, client.done(answer)) == (400, True)
    assert client.uploads() == []


@pytest.mark.parametrize(
    "wanted, told",
    [
        ("sha-256=10, sha-512=3", "sha-256"),
        ("sha-256=1, sha-512=9", "sha-512"),
        ("sha-256=0, sha=1", "sha"),
        ("id-best=10, sha-256=1", "sha-256"),
    ],
)
def test_wanted_digest(client: Client, wanted: str, told: str) -> None:
    """The best that both know, once all is there; also to those who ask later."""
    url = client.created(b"hello", {"Want-Repr-Digest": wanted})

    between = client.head(url)
    answer = client.append(url, 5, b" world", complete=True)

    assert "Repr-Digest" not in between
    assert answer["Repr-Digest"] == client.speaking(8).head(url)["Repr-Digest"] == digest(CONTENT, told)


@pytest.mark.parametrize("wanted", ["sha-256=0", "id-best=10", "sha-256=11", "sha-256=-1", "x=:", "sha-256=a"])
def test_wanted_digest_that_nobody_has(client: Client, wanted: str) -> None:
    """Nothing is said."""
    assert "Repr-Digest" not in client.create(CONTENT, complete=True, headers={"Want-Repr-Digest": wanted})


def test_tus_finishes_an_upload_with_a_digest(client: Client) -> None:
    """What one protocol announced is verified, whichever ends it."""
    url = client.created(b"hello", {"Repr-Digest": WRONG, "Upload-Length": "11"})
    headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "5"}

    answer = client.tus("PATCH", url, headers, b" world")

    assert answer.status == 400
    assert client.tus("HEAD", url).status == 410
    assert client.handed() == []
