"""`s3://bucket/prefix?endpoint=…`: what is wrong is said at the start, with the option and what to change."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import engines, real
from tests.drafting import Turns, content, new
from tests.s3 import proxy as proxies
from tests.s3.conftest import MIB
from tests.s3.proxy import Proxy
from tus import OptionError, TusFilter, Upload
from tus.stores.s3 import S3Store
from tus.stores.s3.client import Blocks
from tus.stores.s3.opening import open_store

VERSIONS = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest"}


@pytest.fixture(params=real.ENGINES)
def engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where it is, of those that speak S3."""
    real.chosen(request.param)
    return real.engine(request.param)


def opened(url: str, *, patience: float = 0.0, **environ: str) -> S3Store:
    environ = {**KEYS, "HOME": "/nowhere", **environ}
    return open_store(url, None, environ, patience=patience)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url, said",
    [
        ("s3://?endpoint=http://127.0.0.1:1", "no name of a bucket"),
        ("s3://b!?endpoint=http://127.0.0.1:1", "no name of a bucket"),
        ("s3://key:secret@bucket", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket?endpint=http://127.0.0.1:1", "knows no 'endpint'"),
        ("s3://bucket?endpoint=ftp://example.com", "endpoint="),
        ("s3://bucket?endpoint=https://example.com/path", "endpoint="),
        ("s3://bucket?endpoint=https://example.com:port", "endpoint="),
        ("s3://bucket/a//b?endpoint=http://127.0.0.1:1", "prefix"),
        ("s3://bucket/../b?endpoint=http://127.0.0.1:1", "prefix"),
        ("s3://bucket?endpoint=http://127.0.0.1:1&part=3MiB", "part="),
        ("s3://bucket?endpoint=http://127.0.0.1:1&part=many", "part="),
        ("s3://bucket?endpoint=http://127.0.0.1:1&budget=1MiB", "budget="),
        ("s3://bucket?endpoint=http://127.0.0.1:1&style=virtual", "style="),
        ("s3://bucket?endpoint=https://127.0.0.1:1&ca=/nowhere", "ca="),
        ("s3://bucket?endpoint=http://127.0.0.1:1&access_key=k", "secret"),
        ("s3://bucket?endpoint=http://127.0.0.1:1", "cannot be reached"),
    ],
)
def test_wrong_url_is_refused(url: str, said: str) -> None:
    """Before anything is asked."""
    with pytest.raises(OptionError, match="option store: ") as raised:
        opened(url)

    assert said in str(raised.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_SECRET_ACCESS_KEY": ""},
    ],
)
def test_missing_keys_are_asked_for(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of their variables, with botocore and without."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # where botocore looks at last
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    with pytest.raises(OptionError, match="AWS_SECRET_ACCESS_KEY"):
        opened("s3://bucket?endpoint=http://127.0.0.1:1", **environ)


@pytest.mark.engines
def test_url_becomes_a_store(engine: dict[str, str], tmp_path: Path) -> None:
    """With the keys of the environment, of the URL, or of the file of AWS's tools."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[other]\naws_access_key_id = test\naws_secret_access_key = testtest\n")
    url = f"s3://{real.BUCKET}/opened-{tmp_path.name}?endpoint={engine['S3_ENDPOINT']}"
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}

    stores = [
        opened(f"{url}&part=16MiB&budget=9000MiB"),
        opened(f"{url}&access_key=test&secret=testtest", **none),
        opened(url, **none, HOME=str(tmp_path), AWS_PROFILE="other"),
    ]
    new(stores[0], data=b"abc")

    assert [content(store) for store in stores] == [b"abc"] * 3
    assert stores[0].create(Upload("f" * 32, length=99 * MIB), fence=Turns(0)).state.place.part == 16 * MIB
    assert [store.budget.size for store in stores] == [9000 * MIB, 256 * MIB, 256 * MIB]


PROCESS = """\
import datetime, json, pathlib
calls = pathlib.Path(__file__).with_suffix(".calls")
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)
found = {"Version": 1, "AccessKeyId": "test", "SecretAccessKey": "testtest", "Expiration": soon.isoformat()}
print(json.dumps(found))
"""


@pytest.mark.engines
def test_keys_come_from_wherever_botocore_finds_them(
    engine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here from a program that gives keys for a while; they are asked for again before they end."""
    pytest.importorskip("botocore", reason="botocore is not installed (pip install tus[s3])")
    (tmp_path / "keys.py").write_text(PROCESS)
    (tmp_path / "config").write_text(f"[profile roles]\ncredential_process = {sys.executable} {tmp_path / 'keys.py'}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    url = f"s3://{real.BUCKET}/roles-{tmp_path.name}?endpoint={engine['S3_ENDPOINT']}&profile=roles"

    store = opened(url, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    new(store, data=b"abc")

    assert content(store) == b"abc"
    assert len((tmp_path / "keys.calls").read_text()) >= 2


@pytest.mark.engines
@pytest.mark.parametrize("engine", ["versitygw"], indirect=True)  # Ceph takes any region
@pytest.mark.parametrize(
    "url, environ, said",
    [
        ("s3://nobody?endpoint={}", {}, "there is no bucket nobody at {}"),
        ("s3://tus?endpoint={}", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "secret: {} does not accept it"),
        ("s3://tus?endpoint={}", {"AWS_ACCESS_KEY_ID": "wrong"}, "key: {} does not accept it"),
        ("s3://tus?endpoint={}&region=mars-1", {}, "region: the bucket tus is not in mars-1"),
        ("s3://tus?endpoint={}", {"AWS_REGION": "mars-1"}, "say region="),
    ],
    ids=["bucket", "secret", "key", "region", "region of the environment"],
)
def test_what_the_engine_refuses_is_explained(
    engine: dict[str, str], url: str, environ: dict[str, str], said: str
) -> None:
    """With what was wrong, and where to change it."""
    endpoint = engine["S3_ENDPOINT"]

    with pytest.raises(OptionError) as raised:
        opened(url.format(endpoint), **environ)

    assert said.format(endpoint) in str(raised.value)


@pytest.mark.engines
def test_wrong_protocol_is_explained(engine: dict[str, str]) -> None:
    """TLS where there is none."""
    with pytest.raises(OptionError, match="endpoint: .*SSL"):
        opened(f"s3://tus?endpoint={engine['S3_ENDPOINT'].replace('http:', 'https:')}")


@pytest.mark.engines
def test_wrong_clock_is_explained(engine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 takes 15 minutes."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 7200)

    with pytest.raises(OptionError, match="the clock of this machine is 7[12][0-9][0-9] s away"):
        opened(f"s3://tus?endpoint={engine['S3_ENDPOINT']}")


@pytest.mark.engines
@pytest.mark.parametrize(
    "call, right",
    [("PutObject", "write"), ("GetObject", "read"), ("ListObjects", "list"), ("DeleteObject", "delete from")],
)
def test_missing_right_is_named(proxy: Proxy, call: str, right: str) -> None:
    """Each thing that uploads need is done once."""
    proxy.fail(f"^{call} ", 403)

    with pytest.raises(OptionError, match=f"may not {right} the bucket tus"):
        opened(f"s3://tus?endpoint={proxy.endpoint}")


@pytest.mark.engines
@pytest.mark.parametrize(
    "setting, xml",
    [
        ("versioning", VERSIONS),
        ("object-lock", b"<C><ObjectLockEnabled>Enabled</ObjectLockEnabled></C>"),
    ],
)
def test_bucket_that_keeps_what_is_removed_is_refused(proxy: Proxy, setting: str, xml: bytes) -> None:
    """It would grow without end."""
    proxy.answer(f"GetObject /tus\\?{setting}=", xml)

    with pytest.raises(OptionError, match=f"the bucket tus has {setting} enabled"):
        opened(f"s3://tus?endpoint={proxy.endpoint}")


@pytest.mark.engines
@pytest.mark.parametrize(
    "engine, header, put, said",
    [
        ("versitygw", {"x-amz-bucket-object-lock-enabled": "true"}, b"", "object-lock"),
        ("ceph", {}, VERSIONS, "versioning"),
    ],
    indirect=["engine"],
)
def test_bucket_that_an_engine_says_keeps_everything_is_refused(
    engine: dict[str, str], header: dict[str, str], put: bytes, said: str
) -> None:
    """In the words of real engines, which keep object lock and versions in their own ways."""
    name = f"kept-{uuid.uuid4().hex}"
    client = real.bucket_at(engine["S3_ENDPOINT"], engine, name).client
    client.ask("PUT", headers=header)
    if put:
        client.ask("PUT", "", [("versioning", "")], body=Blocks([put]))

    with pytest.raises(OptionError, match=f"the bucket {name} has .*{said}.* enabled"):
        opened(f"s3://{name}?endpoint={engine['S3_ENDPOINT']}")


class Heard(logging.Handler):
    """Says when something was logged that begins so."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning, self.met = beginning, threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self.beginning):
            self.met.set()


@pytest.fixture
def waiting() -> Iterator[threading.Event]:
    """Whether we told that we wait for the storage."""
    heard = Heard("waiting for the object storage: ")
    logging.getLogger("tus").addHandler(heard)
    yield heard.met
    logging.getLogger("tus").removeHandler(heard)


@pytest.mark.engines
@pytest.mark.parametrize("engine", ["versitygw"], indirect=True)
def test_engine_that_starts_later_is_waited_for(
    engine: dict[str, str], waiting: threading.Event, tmp_path: Path
) -> None:
    """Both may be started at once, by whatever starts them."""
    kept = socket.socket()
    kept.bind(("127.0.0.1", 0))  # whoever connects is refused
    port = kept.getsockname()[1]
    url = f"s3://{real.BUCKET}/late-{tmp_path.name}?endpoint=http://127.0.0.1:{port}"

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(opened, url, patience=60.0)
        assert waiting.wait(30)
        with proxies.running(engine["S3_ENDPOINT"], kept):
            store = opening.result(60)
            new(store, data=b"abc")
            assert content(store) == b"abc"


@pytest.mark.engines
def test_engine_that_is_not_ready_is_waited_for(proxy: Proxy, waiting: threading.Event) -> None:
    """It says so for a while."""
    proxy.fail("^HeadObject /tus$", 503, times=3)

    opened(f"s3://tus?endpoint={proxy.endpoint}", patience=60.0)

    assert waiting.is_set()


@pytest.mark.engines
@pytest.mark.parametrize("status", [403, 404])
def test_what_will_not_change_is_told_at_once(proxy: Proxy, waiting: threading.Event, status: int) -> None:
    """Nobody waits for keys that are wrong."""
    proxy.fail("/tus", status, times=2)

    with pytest.raises(OptionError):
        opened(f"s3://tus?endpoint={proxy.endpoint}", patience=3600.0)

    assert len(proxy.calls) == 2 and not waiting.is_set()


@pytest.mark.engines
def test_option_store_names_a_bucket(engine: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rest is as with files; and nothing warns of the locker, since none is needed."""
    url = f"s3://{real.BUCKET}/option-{tmp_path.name}?endpoint={engine['S3_ENDPOINT']}&access_key={engine['S3_KEY']}"

    app = TusFilter(lambda *_: [], store=f"{url}&secret={engine['S3_SECRET']}", hand_over="none", sweep_interval="none")

    assert isinstance(app.engine.disk, type(None))
    assert engines.content(app.engine, engines.create(app.engine, 0)) == b""
    assert caplog.records == []


@pytest.mark.engines
@pytest.mark.parametrize("engine", ["versitygw-tls"], indirect=True)
def test_tls_is_verified_and_bodies_carry_a_checksum(engine: dict[str, str], tmp_path: Path) -> None:
    """Only certificates that are trusted are; and what is sent comes back."""
    url = f"s3://{real.BUCKET}/tls-{tmp_path.name}?endpoint={engine['S3_ENDPOINT']}"
    data = os.urandom(6 * MIB)

    with pytest.raises(OptionError, match="CERTIFICATE_VERIFY_FAILED"):
        opened(url)
    store = opened(f"{url}&ca={engine['S3_CA']}")
    new(store, "f" * 32, data, length=7 * MIB)

    assert store.load("f" * 32).offset == len(data)
    assert "x-amz-checksum-crc32" in store.uploads.bucket.client.proof("PUT", Blocks([data]))
