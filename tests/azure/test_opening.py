"""`azblob://container/prefix?account=…`: it becomes a store, or what is wrong is said at the start."""

from __future__ import annotations

import base64
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import engines, kinds, real
from tests.drafting import Turns, content, new
from tests.s3 import proxy as proxies
from tus import OptionError, TusFilter, Upload
from tus.stores.azure.client import AzureClient
from tus.stores.azure.opening import open_azure
from tus.stores.azure.signing import Bearer
from tus.stores.s3 import S3Store

pytestmark = pytest.mark.engines
KEY = base64.b64encode(b"a key").decode()


@pytest.fixture
def facts() -> dict[str, str]:
    """Where the emulator is, and its key."""
    real.needed("azurite")
    return real.engine("azurite")


def opened(url: str, **environ: str) -> S3Store:
    return open_azure(url, None, environ, patience=0.0)  # type: ignore[arg-type]


def from_facts(facts: dict[str, str], path: str = f"{real.BUCKET}/opened", **changed: str) -> S3Store:
    said = {"AccountName": facts["AZURE_ACCOUNT"], "AccountKey": facts["AZURE_KEY"]}
    fields = {**said, "BlobEndpoint": facts["AZURE_ENDPOINT"], **changed}
    text = ";".join(f"{name}={value}" for name, value in fields.items())
    return opened(f"azblob://{path}", AZURE_STORAGE_CONNECTION_STRING=text)


@pytest.mark.parametrize(
    "url, said",
    [
        ("azblob://?account=a", "no name of a container"),
        ("azblob://box", "account=NAME"),
        ("azblob://box?acount=a", "knows no 'acount'"),
        (f"azblob://box?account=a&key={KEY[:-1]}", "base64"),
        (f"azblob://box?account=a&key={KEY}&endpoint=ftp://example.com", "endpoint="),
        (f"azblob://box?account=a&key={KEY}&part=1MiB", "part="),
        (f"azblob://box/a//b?account=a&key={KEY}", "prefix"),
        (f"azblob://box?account=a&key={KEY}&endpoint=http://127.0.0.1:1", "cannot be reached"),
    ],
)
def test_wrong_url_is_refused(url: str, said: str) -> None:
    """With what to change."""
    with pytest.raises(OptionError, match="option store: ") as raised:
        opened(url)

    assert said in str(raised.value)


def test_connection_string_becomes_a_store(facts: dict[str, str]) -> None:
    """As the portal shows it."""
    store = from_facts(facts)

    id = os.urandom(16).hex()
    new(store, id, length=0)

    assert list(store.uploads.bucket.objects(f"opened/.tus/info/{id}"))


@pytest.mark.parametrize(
    "path, changed, said",
    [
        ("tus/opened", {"AccountKey": KEY}, "key: "),
        ("nothing-there", {}, "there is no container nothing-there"),
    ],
)
def test_what_azure_refuses_is_explained(facts: dict[str, str], path: str, changed: dict[str, str], said: str) -> None:
    """By the option that is wrong."""
    with pytest.raises(OptionError, match="option store: ") as raised:
        from_facts(facts, path, **changed)

    assert said in str(raised.value)


def test_missing_right_is_named(facts: dict[str, str]) -> None:
    """It may list, but not write."""
    with proxies.running(real.endpoint(facts)) as proxy:
        proxy.fail("PutObject", 403)

        with pytest.raises(OptionError, match="may not write the container tus"):
            from_facts(facts, BlobEndpoint=f"{proxy.endpoint}/{facts['AZURE_ACCOUNT']}")


def test_option_store_names_a_container(facts: dict[str, str], tmp_path: Path) -> None:
    """As in an ini file."""
    key = facts["AZURE_KEY"].replace("+", "%2B")
    url = f"azblob://{real.BUCKET}/{tmp_path.name}?account={facts['AZURE_ACCOUNT']}&endpoint={facts['AZURE_ENDPOINT']}"

    app = TusFilter(lambda *_: [], store=f"{url}&key={key}", hand_over="none", sweep_interval="none")

    assert engines.content(app.engine, engines.create(app.engine, 0)) == b""


def test_signed_url_shows_one_blob_for_a_while(facts: dict[str, str], tmp_path: Path) -> None:
    """To anybody who has it, and with the name that it says."""
    container = real.bucket("azurite")
    container.put(f"{tmp_path.name}/a b", b"content")
    named = [("response-content-disposition", 'attachment; filename="b.txt"')]

    url = container.client.url(f"{tmp_path.name}/a b", 60, named)

    with urllib.request.urlopen(url, timeout=20) as answer:
        assert (answer.read(), answer.headers["Content-Disposition"]) == (b"content", 'attachment; filename="b.txt"')
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url.replace("a%20b", "other"), timeout=20)
    late = container.client.url(f"{tmp_path.name}/a b", -1)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(late, timeout=20)


def test_body_that_is_not_what_was_sent_is_refused(facts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each body carries its MD5, which Azure checks."""
    from tus.stores.s3.client import Failed

    container = real.bucket("azurite")
    proof = AzureClient.proof

    def of_another(self: Any, method: str, body: Any) -> dict[str, str]:
        found = proof(self, method, body)
        return found | ({"content-md5": base64.b64encode(b"0" * 16).decode()} if body.size else {})

    monkeypatch.setattr(AzureClient, "proof", of_another)

    with pytest.raises(Failed, match="400"):
        container.put("wrong", b"content")
    with pytest.raises(Failed, match="400"):
        container.part("wrong", container.begin("wrong"), 1, [b"content"])


def test_token_of_a_machine_is_shown(facts: dict[str, str]) -> None:
    """It is asked for each time, since whatever gives it renews it."""
    tokens = iter(("first", "second"))
    signer = Bearer(lambda: next(tokens))

    shown = [signer.headers("GET", "/c/a", "", {}, "")["authorization"] for _ in range(2)]

    assert shown == ["Bearer first", "Bearer second"]


def test_parts_without_a_lease_show_when_they_came(facts: dict[str, str], tmp_path: Path) -> None:
    """So that an upload which grows by whole parts does not expire."""
    store = kinds.STORES["azblob"](tmp_path)
    began = time.time()
    new(store, "a", length=30 << 20)
    part = store.append("a", 0, fence=Turns())

    part.write(bytes(5 << 20))
    part.commit()
    part.close()

    found: Upload = kinds.STORES["azblob"](tmp_path).load("a")
    assert found.offset == 5 << 20 and found.touched >= int(began)
    assert content(kinds.STORES["azblob"](tmp_path), "a") == bytes(5 << 20)
