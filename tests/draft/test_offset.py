"""Asking for the offset, cancelling, and asking for limits (sections 5, 7 and 4.1.4 of the draft)."""

from __future__ import annotations

import pytest

from tests.draft.client import TUS, TYPE, Client, limits

UNKNOWN = "0123456789abcdef0123456789abcdef"
STRICT = (3, 4, 5, 6)  # versions in which HEAD and DELETE must not carry what only PATCH needs


@pytest.mark.every_server
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_offset_retrieval(client: Client, method: str) -> None:
    """204 with everything that there is to know, and nothing that a cache may keep."""
    url = client.created(b"hello", {"Upload-Length": "11"})

    answer = client.ask(method, url)

    assert (answer.status, answer.body) == (204, b"")
    assert (answer["Upload-Offset"], answer["Upload-Length"], answer["Upload-Complete"]) == ("5", "11", "?0")
    assert answer["Cache-Control"] == "no-store"
    assert limits(answer)["max-age"] > 0


def test_offset_retrieval_in_each_version(each: Client) -> None:
    """Interop 3 and 4 want exactly 204, the others take it; and 3 says it the other way round."""
    url = each.created(b"hello")

    assert each.offset(url) == (5, False)
    for method in ("HEAD", "GET"):
        answer = each.ask(method, url)
        assert (answer.status, answer.body, answer["Upload-Offset"]) == (204, b"", "5")
        assert "Upload-Length" not in answer and "Upload-Limit" in answer
        assert answer["Upload-Draft-Interop-Version"] == str(each.version)


def test_head_of_a_phone(each: Client) -> None:
    """It repeats what its first request said of its content, which means nothing here."""
    url = each.created(b"hello")

    answer = each.head(url, {"Content-Type": "image/heic", "Content-Length": "0", "Authorization": "Bearer x"})

    assert (answer.status, answer["Upload-Offset"]) == (204, "5")


def test_complete_upload_in_each_version(each: Client) -> None:
    """Who asks after the end learns that it was the end."""
    url = each.created(b"hello")
    each.append(url, 5, b"", complete=True)

    assert each.offset(url) == (5, True)


def test_age_has_another_name_in_interop_6(each: Client) -> None:
    """What is `max-age` now was `expires` then."""
    names = set(limits(each.head(each.created(b"x"))))

    assert names == ({"expires"} if each.version == 6 else {"max-age"})


@pytest.mark.parametrize("field", ["Upload-Offset", "Upload-Complete", "Upload-Incomplete"])
@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
def test_fields_of_an_append_where_none_belong(each: Client, method: str, field: str) -> None:
    """Up to interop 6 they make the request a bad one; later they mean nothing."""
    url = each.created(b"x")

    answer = each.ask(method, url, {field: "0" if field == "Upload-Offset" else "?0"})

    assert answer.status == (400 if each.version in STRICT else 204)
    if each.version in STRICT:
        assert each.offset(url) == (1, False)


@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH", "DELETE"])
def test_unknown_upload(each: Client, method: str) -> None:
    """404, as interop 3 to 6 demand, and nothing is complete."""
    headers = each.append_headers(0, False) if method == "PATCH" else {}

    answer = each.ask(method, f"{each.path}/{UNKNOWN}", headers)

    assert answer.status == 404


def test_delete(each: Client) -> None:
    """204, as all versions agree; and it is gone."""
    url = each.created(b"hello")

    assert each.ask("DELETE", url).status == 204
    for method in ("HEAD", "GET", "DELETE"):
        assert each.ask(method, url).status in (404, 410)
    assert each.append(url, 5, b"x").status in (404, 410)
    assert each.uploads() == []


def test_delete_without_a_version_cancels(client: Client) -> None:
    """So the finished standard has it; tus has a word of its own in each DELETE."""
    url = client.created(b"hello")

    assert client.speaking(None).ask("DELETE", url).status == 204
    assert client.uploads() == []


def test_delete_may_be_switched_off(collection) -> None:
    """Then it is no method of an upload."""
    client = collection(termination=False)
    url = client.created(b"x")

    answer = client.ask("DELETE", url)

    assert answer.status == 405
    assert "DELETE" not in answer.list("Allow")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_other_methods_on_an_upload(each: Client, method: str) -> None:
    """405, with those that there are."""
    answer = each.ask(method, each.created(b"x"), each.complete(True), b"y")

    assert answer.status == 405
    assert {"HEAD", "PATCH", "DELETE", "OPTIONS"} <= set(answer.list("Allow"))


def test_get_without_a_version_is_a_download(client: Client) -> None:
    """A browser that opens the address of a finished upload gets the file."""
    url = client.created(b"hello")
    client.append(url, 5, complete=True)

    assert client.speaking(None).ask("GET", url).status == 404  # handed over, and removed


def test_head_that_names_no_protocol_is_answered_in_both(client: Client) -> None:
    """The fields of the two do not contradict each other."""
    url = client.created(b"hello", {"Upload-Length": "11"})

    answer = client.speaking(None).head(url)

    assert answer.status in (200, 204)
    assert (answer["Upload-Offset"], answer["Upload-Length"], answer["Upload-Complete"]) == ("5", "11", "?0")
    assert (answer["Tus-Resumable"], "Upload-Limit" in answer) == ("1.0.0", True)


def test_limits_without_any_limit(collection) -> None:
    """Even no limit is said."""
    client = collection(upload_valid_duration="none")

    assert client.ask("OPTIONS")["Upload-Limit"] == "min-size=0"
    assert client.head(client.created(b"x"))["Upload-Limit"] == "min-size=0"


def test_options_names_every_limit(collection) -> None:
    """And what a PATCH has to be."""
    answer = collection(max_size="1kB", upload_valid_duration="1h").ask("OPTIONS")

    assert answer.status in (200, 204)
    assert limits(answer) == {"max-size": 1000, "max-age": 3600}
    assert answer.list("Accept-Patch") == [TYPE]


def test_options_in_interop_6(collection) -> None:
    """The old name of max-age, for those who know no other."""
    assert "expires" in limits(collection(6, upload_valid_duration="1h").ask("OPTIONS"))


def test_options_for_a_browser_and_for_a_client_at_once(client: Client) -> None:
    """A preflight is answered by the same response, and allows what this protocol sends and answers."""
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "PATCH"}

    answer = client.speaking(None).ask("OPTIONS", None, asked)

    allowed = {name.lower() for name in answer.list("Access-Control-Allow-Headers")}
    shown = {name.lower() for name in answer.list("Access-Control-Expose-Headers")}
    assert "Upload-Limit" in answer
    assert {"upload-complete", "upload-incomplete", "upload-draft-interop-version", "content-disposition"} <= allowed
    assert {"content-digest", "repr-digest", "want-repr-digest", "incremental"} <= allowed
    assert {"upload-complete", "upload-incomplete", "upload-limit", "upload-draft-interop-version"} <= shown
    assert {"location", "upload-offset", "upload-length", "repr-digest", "accept-patch"} <= shown


def test_largest_limit_fits_a_structured_field(collection) -> None:
    """An integer there has 15 digits."""
    client = collection(max_size=10**18, upload_valid_duration="none")

    assert limits(client.ask("OPTIONS")) == {"max-size": 10**15 - 1}


def test_limits_do_not_tighten(collection) -> None:
    """What was announced before the upload holds during it."""
    client = collection(max_size="1kB", upload_valid_duration="1h")
    before = limits(client.ask("OPTIONS"))

    created = client.create(b"hello")
    later = limits(client.head(created["Location"]))

    assert later["max-size"] == limits(created)["max-size"] == before["max-size"]
    assert before["max-age"] - 5 <= later["max-age"] <= before["max-age"]


@pytest.mark.every_server
def test_servers_that_collect_bodies_say_how_much_a_cut_may_cost(client: Client) -> None:
    """Where a cut request leaves nothing, requests should be small."""
    assert ("max-append-size" in limits(client.ask("OPTIONS"))) == (not client.server.kind.streams)


def test_length_beyond_the_limit(collection) -> None:
    """Refused at creation, with the limit; declared or counted."""
    client = collection(max_size=10)

    declared = client.create(b"", headers={"Upload-Length": "11"})
    counted = client.create(b"x" * 11, complete=True)

    for answer in (declared, counted):
        assert (answer.status, limits(answer)["max-size"], client.done(answer)) == (413, 10, False)
    assert client.uploads() == []


@pytest.mark.parametrize("chunked", [False, True])
def test_unknown_length_beyond_the_limit(collection, chunked: bool) -> None:
    """Refused as soon as the bytes themselves go beyond it; what fitted stays."""
    client = collection(max_size=10)
    url = client.created(b"12345")
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}

    answer = client.append(url, 5, b"678901", headers=headers)

    assert (answer.status, limits(answer)["max-size"], client.done(answer)) == (413, 10, False)
    assert client.offset(url) == (5, False)


def test_limit_that_a_hook_sets(collection) -> None:
    """It is announced where it is known, and where it is the reason of a refusal."""
    client = collection(hooks="tests.draft.host:Small", max_size=100)

    created = client.create(b"hello")
    refused = (client.create(b"x" * 11), client.append(created["Location"], 5, b"678901"))

    assert limits(created)["max-size"] == 10
    assert [(answer.status, limits(answer)["max-size"]) for answer in refused] == [(413, 10)] * 2


def test_tus_says_nothing_of_this_protocol(client: Client) -> None:
    """An answer to tus is as it always was."""
    url = client.created(b"hello", {"Upload-Length": "11"})

    answer = client.tus("HEAD", url, TUS)

    assert "Upload-Complete" not in answer
    assert "Upload-Limit" not in answer
