"""Concatenation: parts that were uploaded apart become one file. URLs must lead to parts only."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import live
from tests.conformance.client import BYTES, Client, checksum, every_manner, every_method, metadata

PARTIAL = {"Upload-Concat": "partial"}


@pytest.mark.every_server
@every_manner
def test_parts_become_one_file_in_their_order(tus: Client) -> None:
    """The final upload holds the bytes in the order of the list, and its length is their sum."""
    first, second, third = tus.part(b"one"), tus.part(b"two!"), tus.part(b"three")

    answer = tus.final(third, first, second)

    assert answer.status == 201
    head = tus.head(answer["Location"])
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("12", "12")
    assert [handed.file for handed in tus.handed()] == [b"threeonetwo!"]


@every_manner
def test_part_is_not_handed_over(tus: Client) -> None:
    """A finished part is no file that the application wants to hear of."""
    url = tus.part(b"part")

    assert tus.handed() == []
    assert tus.patch(url, 4).status == 204
    assert tus.handed() == []


def test_empty_part_is_not_handed_over(tus: Client) -> None:
    """A part without bytes is complete at once, and still only a part."""
    empty = tus.part(b"")
    assert tus.handed() == []

    assert tus.final(tus.part(b"ab"), empty).status == 201
    assert [handed.file for handed in tus.handed()] == [b"ab"]


@every_method
def test_head_of_a_part(tus: Client) -> None:
    """A part has its offset and its length, and says that it is one."""
    url = tus.create(5, PARTIAL)
    tus.patch(url, 0, b"ab")

    head = tus.head(url)

    assert head["Upload-Concat"] == "partial"
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("2", "5")


@every_method
def test_head_gives_the_list_as_it_was_sent(tus: Client) -> None:
    """Absolute or relative, with whatever blanks: the header of the creation comes back byte for byte."""
    first, second = tus.part(b"one"), tus.part(b"two")
    path = tus.target(first)

    for value in (
        f"final;{first} {second}",
        f"final;{path} {tus.target(second)}",
        f"final;{path}  {second}",
        f"final; {path} {path}",
    ):
        answer = tus.post({"Upload-Concat": value})
        assert answer.status == 201, value
        assert tus.head(answer["Location"])["Upload-Concat"] == value


def test_ordinary_upload_has_no_concat_header(tus: Client) -> None:
    """Who did not ask for it does not see it."""
    assert "Upload-Concat" not in tus.head(tus.create(5))


def test_parts_may_be_named_absolutely_or_by_path(tus: Client) -> None:
    """Both spellings of an address mean the same part."""
    url = tus.part(b"ab")
    path = tus.target(url)

    answer = tus.final(f"http://127.0.0.1:{tus.server.port}{path}", path)

    assert answer.status == 201
    assert [handed.file for handed in tus.handed()] == [b"abab"]


def test_part_may_be_used_again(tus: Client) -> None:
    """In one list and in several: the part stays what it is."""
    url, other = tus.part(b"ab"), tus.part(b"cd")

    first = tus.final(url, url, other, url)
    second = tus.final(other, url)

    assert (first.status, second.status) == (201, 201)
    assert first["Location"] != second["Location"]
    assert sorted(handed.file for handed in tus.handed()) == [b"ababcdab", b"cdab"]
    assert tus.offset(url) == 2


def test_part_cannot_be_used_without_end(tus: Client) -> None:
    """A request without a body copies what it names, each time that it names it: 16 times, and not one more."""
    large, small = tus.part(bytes(10_000)), tus.part(b"x")
    before = tus.files()

    for parts in ([large] * 200, [large] * 17, [small, *[large] * 17]):
        answer = tus.final(*parts)
        assert (answer.status, b"16 times" in answer.body) == (400, True)
        assert "Location" not in answer
    assert tus.files() == before
    assert tus.handed() == []

    answer = tus.final(*[large] * 16)
    assert answer.status == 201
    assert tus.head(answer["Location"])["Upload-Length"] == "160000"


@pytest.mark.parametrize("complete", [True, False])
def test_uses_of_a_part_add_up(tus: Client, complete: bool) -> None:
    """Many final uploads that name it once are as much as one that names it often; one asked for again is one."""
    part = tus.part(b"abc") if complete else tus.create(3, PARTIAL)
    names = [{"Upload-Metadata": metadata(filename=f"{number}")} for number in range(16)]

    answers = [tus.final(part, part, headers=headers).status for headers in names[:7] * 2]
    answers += [tus.final(part, headers=headers).status for headers in names[7:9]]
    more = tus.final(part, headers=names[9])

    assert {*answers} <= {200, 201}
    assert more.status == 400
    assert tus.final(part, part, headers=names[0]).status in (200, 201)
    if not complete:
        assert tus.patch(part, 0, b"abc").status == 204
    assert live.until(lambda: len(tus.handed()) == 9)


def test_same_final_again_is_the_same_upload(tus: Client) -> None:
    """A client that lost the answer asks again, and gets the address of the upload that is already there."""
    parts = tus.part(b"ab"), tus.part(b"cd")
    headers = {"Upload-Metadata": metadata(filename="x")}

    first = tus.final(*parts, headers=headers)
    second = tus.final(*parts, headers=headers)

    assert first.status == 201
    assert second.status in (200, 201)
    assert first["Location"] == second["Location"]
    assert len(tus.handed()) == 1


def test_other_metadata_is_another_final(tus: Client) -> None:
    """The same parts under another name are another file."""
    parts = tus.part(b"ab"), tus.part(b"cd")

    first = tus.final(*parts, headers={"Upload-Metadata": metadata(filename="x")})
    second = tus.final(*parts, headers={"Upload-Metadata": metadata(filename="y")})

    assert first["Location"] != second["Location"]
    assert [handed.headers["filename"] for handed in tus.handed()] == ["x", "y"]


def test_metadata_of_parts_is_not_inherited(tus: Client) -> None:
    """The final upload has its own metadata, or none."""
    url = tus.part(b"ab", {"Upload-Metadata": metadata(filename="part")})

    with_own = tus.final(url, headers={"Upload-Metadata": metadata(filename="whole")})
    without = tus.final(url)

    assert tus.head(with_own["Location"])["Upload-Metadata"] == metadata(filename="whole")
    assert "Upload-Metadata" not in tus.head(without["Location"])
    assert [handed.headers.get("filename", "") for handed in tus.handed()] == ["whole", ""]


@every_manner
def test_patch_of_a_final_is_403(tus: Client) -> None:
    """Nobody writes into what was put together, finished or not, whatever offset they name."""
    done = tus.final(tus.part(b"ab"), tus.part(b"cd"))["Location"]
    part = tus.create(2, PARTIAL)
    waiting = tus.final(part, tus.part(b"ef"))["Location"]

    for url in (done, waiting):
        for offset in (0, 4):
            assert tus.patch(url, offset, b"X").status == 403
        assert tus.patch(url, 4).status == 403
    assert tus.offset(done) == 4
    assert tus.offset(part) == 0
    assert [handed.file for handed in tus.handed()] == [b"abcd"]


def test_part_needs_a_length_like_any_upload(tus: Client) -> None:
    """Being a part is no excuse."""
    assert tus.post(PARTIAL).status == 400
    assert tus.post({**PARTIAL, "Upload-Length": "2", "Upload-Defer-Length": "1"}).status == 400
    assert tus.files() == []


@pytest.mark.every_server
def test_same_final_sent_several_times_at_once_is_joined_once(tus: Client) -> None:
    """Impatient clients get one upload, and the application one file."""
    parts = tus.part(b"ab"), tus.part(b"cd")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: tus.final(*parts), range(4)))

    locations = {answer["Location"] for answer in answers if answer.status in (200, 201)}
    assert len(locations) == 1
    assert all(answer.status in (200, 201, 423) or answer.status >= 500 for answer in answers)
    assert [handed.file for handed in tus.handed()] == [b"abcd"]


def test_final_with_a_length_is_400(tus: Client) -> None:
    """The length is the sum of the parts, and not the client's to say, not even rightly."""
    parts = tus.part(b"ab"), tus.part(b"cd")

    for length in ("4", "5"):
        answer = tus.final(*parts, headers={"Upload-Length": length})
        assert answer.status == 400
        assert "Location" not in answer
    assert tus.handed() == []


def test_final_with_a_deferred_length_is_400(tus: Client) -> None:
    """There is nothing to defer."""
    assert tus.final(tus.part(b"ab"), headers={"Upload-Defer-Length": "1"}).status == 400
    assert tus.handed() == []


def test_final_with_a_body_is_403(tus: Client) -> None:
    """The bytes of the final upload are those of its parts."""
    part = tus.part(b"ab")
    before = tus.files()

    answer = tus.final(part, headers={"Content-Type": BYTES}, body=b"X")

    assert answer.status == 403
    assert "Location" not in answer
    assert tus.handed() == []
    assert tus.files() == before


def test_checksum_on_a_final_changes_nothing(tus: Client) -> None:
    """There is no body that it could be of."""
    answer = tus.final(tus.part(b"ab"), headers={"Upload-Checksum": checksum("sha1", b"")})

    assert answer.status == 201


@pytest.mark.parametrize(
    "value",
    [
        "",
        "final",
        "final;",
        "final; ",
        "Final;{0}",
        "FINAL;{0}",
        "PARTIAL",
        "Partial",
        "partial;{0}",
        "whole",
        "final:{0}",
        "final;{0},{0}",
        "final;{0};{0}",
    ],
)
def test_malformed_concat_is_400(tus: Client, value: str) -> None:
    """The two forms are all there is."""
    part = tus.part(b"ab")
    before = tus.files()

    answer = tus.post({"Upload-Concat": value.format(part)})

    assert answer.status == 400
    assert tus.files() == before
    assert tus.handed() == []


@pytest.mark.parametrize(
    "place",
    [
        "{path}/00000000000000000000000000000000",
        "{path}",
        "{path}/",
        "/",
        "/etc/passwd",
        "{path}/../../../../etc/passwd",
        "{path}/..%2f{id}",
        "{path}/{id}.info",
        "{path}/{id}/x",
        "{path}s/{id}",
        "{path},{path}/{id}",
        "http://other.example{path}/{id}",
        "http://127.0.0.1:1{path}/{id}",
        "//other.example{path}/{id}",
        "ftp://127.0.0.1:{port}{path}/{id}",
        "file:///{id}",
        "javascript:{id}",
        "http://[{path}/{id}",
        "http://127.0.0.1:{port}@other.example{path}/{id}",
    ],
)
def test_what_is_no_part_of_ours_is_400(tus: Client, place: str) -> None:
    """An address that is not that of an upload in this collection is refused, and never fetched."""
    part = tus.part(b"ab")
    target = place.format(path=tus.path, id=tus.id(part), port=tus.server.port)
    before = tus.files()

    answer = tus.final(part, target)

    assert answer.status == 400, answer
    assert "Location" not in answer
    assert tus.files() == before
    assert tus.handed() == []


def test_ordinary_upload_is_no_part(tus: Client) -> None:
    """Only what was made as a part can be one, finished or not."""
    for url in (tus.uploaded(b"ab"), tus.create(5)):
        handed = len(tus.handed())
        assert tus.final(url).status == 400
        assert tus.final(tus.part(b"cd"), url).status == 400
        assert len(tus.handed()) == handed


def test_final_is_no_part(tus: Client) -> None:
    """What was put together is not put together again."""
    final = tus.final(tus.part(b"ab"))["Location"]

    assert tus.final(final).status == 400
    assert len(tus.handed()) == 1


def test_terminated_part_is_no_part(tus: Client) -> None:
    """What is gone cannot be used."""
    part = tus.part(b"ab")
    tus.delete(part)

    assert tus.final(part).status == 400


def test_upload_of_another_collection_is_no_part(collection) -> None:
    """Another filter on the same server has its own uploads."""
    ours, theirs = collection(), collection()

    assert ours.final(theirs.part(b"ab")).status == 400


def test_part_of_another_owner_is_no_part(collection) -> None:
    """An address that leaked is of no use to somebody else."""
    tus = collection(hooks="tests.apps:Owners")
    alice, bob = {"X-User": "alice"}, {"X-User": "bob"}
    theirs = tus.post({**alice, **PARTIAL, "Upload-Length": "2", "Content-Type": BYTES}, b"ab")["Location"]
    own = tus.post({**bob, **PARTIAL, "Upload-Length": "2", "Content-Type": BYTES}, b"cd")["Location"]

    assert tus.final(own, theirs, headers=bob).status == 400
    assert tus.final(theirs).status == 400
    assert tus.handed() == []
    assert tus.final(theirs, theirs, headers=alice).status == 201
    assert [handed.file for handed in tus.handed()] == [b"abab"]


def test_sum_above_the_maximum_is_413(collection) -> None:
    """Parts that are small enough may be too much together."""
    tus = collection(max_size=5)
    part = tus.part(b"abc")

    answer = tus.final(part, part)

    assert answer.status == 413
    assert "Location" not in answer
    assert tus.handed() == []
    assert tus.final(part).status == 201


@pytest.mark.every_server
@every_manner
def test_final_may_come_before_its_parts_are_done(tus: Client) -> None:
    """It waits without an offset but with its length, and joins when the last part is complete."""
    first, second = tus.create(3, PARTIAL), tus.create(4, PARTIAL)
    tus.patch(first, 0, b"one")
    tus.patch(second, 0, b"tw")

    answer = tus.final(first, second)

    assert answer.status == 201
    waiting = tus.head(answer["Location"])
    assert waiting.status == 200
    assert "Upload-Offset" not in waiting
    assert waiting["Upload-Length"] == "7"
    assert tus.handed() == []
    assert tus.patch(second, 2, b"o!").status == 204
    joined = live.until(lambda: (a := tus.head(answer["Location"])).get("Upload-Offset") and a)
    assert (joined["Upload-Offset"], joined["Upload-Length"]) == ("7", "7")
    assert [handed.file for handed in tus.handed()] == [b"onetwo!"]


def test_waiting_final_has_no_length_while_a_part_has_none(tus: Client) -> None:
    """The sum is told as soon as it can be computed, and not before."""
    first, second = tus.part(b"one"), tus.create(None, PARTIAL)
    url = tus.final(first, second)["Location"]

    before = tus.head(url)
    tus.patch(second, 0, b"tw", {"Upload-Length": "3"})
    after = tus.head(url)
    tus.patch(second, 2, b"o")
    done = live.until(lambda: (a := tus.head(url)).get("Upload-Offset") and a)

    assert "Upload-Length" not in before and "Upload-Offset" not in before
    assert after["Upload-Length"] == "6" and "Upload-Offset" not in after
    assert done["Upload-Offset"] == done["Upload-Length"] == "6"
    assert [handed.file for handed in tus.handed()] == [b"onetwo"]


def test_part_may_finish_several_finals(tus: Client) -> None:
    """Every upload that waits for a part is joined when it is there."""
    part = tus.create(2, PARTIAL)
    finals = [tus.final(part)["Location"], tus.final(part, part)["Location"]]

    tus.patch(part, 0, b"ab")

    for url, length in zip(finals, ("2", "4"), strict=True):
        live.until(lambda url=url, length=length: tus.head(url).get("Upload-Offset") == length)
    assert sorted(handed.file for handed in tus.handed()) == [b"ab", b"abab"]


def test_waiting_sum_above_the_maximum_is_never_joined(collection) -> None:
    """Parts whose length came later cannot slip past the limit."""
    tus = collection(max_size=5)
    first, second = tus.part(b"abc"), tus.create(None, PARTIAL)
    answer = tus.final(first, second)

    tus.patch(second, 0, b"def", {"Upload-Length": "3"})

    assert answer.status in (201, 400)
    assert tus.handed() == []


def test_final_never_fetches_an_address(tus: Client) -> None:
    """An address on a host of the client's choice is not even connected to."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        part = tus.part(b"ab")
        answer = tus.final(f"http://127.0.0.1:{trap.getsockname()[1]}{tus.target(part)}")
        with pytest.raises(BlockingIOError):
            trap.accept()

    assert answer.status == 400


def test_part_removed_while_a_final_waits_spoils_it_quietly(tus: Client) -> None:
    """A waiting final whose part is gone never becomes a file, and its HEAD does not fail on our side."""
    first, second = tus.part(b"ab"), tus.create(2, PARTIAL)
    url = tus.final(first, second)["Location"]

    assert tus.delete(first).status == 204
    tus.patch(second, 0, b"cd")

    head = tus.head(url)
    assert head.status < 500
    assert "Upload-Offset" not in head
    assert tus.handed() == []


@pytest.mark.parametrize("remove", [False, True])
def test_parts_are_kept_unless_told_otherwise(collection, remove: bool) -> None:
    """An option frees the parts once they are joined; without it they stay for another use."""
    tus = collection(remove_parts=remove)
    part = tus.part(b"ab")

    assert tus.final(part, part).status == 201
    assert [handed.file for handed in tus.handed()] == [b"abab"]
    assert tus.head(part).status == (404 if remove else 200)


def test_part_can_be_created_with_bytes(tus: Client) -> None:
    """The other extensions work for parts as well."""
    part = tus.post({**PARTIAL, "Upload-Length": "2", "Content-Type": BYTES}, b"ab")

    assert (part.status, part["Upload-Offset"]) == (201, "2")
    assert tus.final(part["Location"]).status == 201
    assert [handed.file for handed in tus.handed()] == [b"ab"]


def test_final_can_be_terminated(tus: Client) -> None:
    """Removing the final leaves its parts, and one that waits is never joined."""
    part = tus.create(2, PARTIAL)
    url = tus.final(part)["Location"]

    assert tus.delete(url).status == 204
    assert tus.head(url).status == 404
    assert tus.patch(part, 0, b"ab").status == 204
    assert tus.handed() == []


def test_large_parts_are_joined_bit_for_bit(tus: Client) -> None:
    """Parts of many blocks and odd lengths are copied whole."""
    one, two = bytes(range(251)) * 4001, bytes(range(241)) * 3001

    assert tus.final(tus.part(one), tus.part(two), tus.part(b"x")).status == 201
    assert [handed.file == one + two + b"x" for handed in tus.handed()] == [True]


WHOLE = "5f6dd4e4-6c5c-4bd1-9a3c-6d2d7d3a1f10"


@pytest.mark.every_server
def test_parts_in_their_place_become_one_file(tus: Client) -> None:
    """Whatever the storage makes of it, the header does no harm; and a creation that comes again is the same part."""
    contents = b"a" * 70_001, b"b" * 70_002, b"c" * 70_000
    fields = {**PARTIAL, "Upload-Whole": " ".join([WHOLE, *(str(len(each)) for each in contents)])}
    urls = [tus.create(len(each), fields) for each in contents]
    assert urls == [tus.create(len(each), fields) for each in contents]
    for url, each in reversed(list(zip(urls, contents, strict=True))):
        assert tus.patch(url, 0, each[:1000]).status == 204
        assert tus.patch(url, 1000, each[1000:]).status == 204

    answer = tus.final(*urls)

    assert answer.status == 201
    assert [handed.file == b"".join(contents) for handed in tus.handed()] == [True]


@pytest.mark.parametrize(
    "value",
    ["KEY", "KEY 5 5", "KEY 5 0", "KEY 6 7", "KEY  5", "short 5", "KEY 5 -1", "KEY 5 6x", ""],
    ids=["none", "alike", "nought", "another", "blanks", "short", "negative", "letter", "empty"],
)
def test_whole_that_cannot_be_is_400(tus: Client, value: str) -> None:
    """A part of which nothing says where it belongs is refused before it has cost anything."""
    answer = tus.post({**PARTIAL, "Upload-Length": "5", "Upload-Whole": value.replace("KEY", WHOLE)})

    assert answer.status == 400


@pytest.mark.slow
def test_killed_server_still_joins() -> None:
    """A final that waited when the process was killed is joined by the next one."""
    with live.start() as server:
        tus = Client(server, server.collection())
        first, second = tus.part(b"one"), tus.create(3, PARTIAL)
        url = tus.final(first, second)["Location"]
        server.restart()

        tus.patch(second, 0, b"two")

        live.until(lambda: tus.head(url).get("Upload-Offset") == "6")
        assert [handed.file for handed in tus.handed()] == [b"onetwo"]
