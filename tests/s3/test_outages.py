"""An engine that refuses or disappears while uploads arrive: 503, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import real
from tests.adapters.test_paste import ask
from tests.s3.conftest import MIB, PART
from tests.s3.proxy import Proxy
from tests.s3.test_host import uploaded
from tus import TusFilter

pytestmark = [pytest.mark.engines, pytest.mark.slow]
PATCH = {"Content_Type": "application/offset+octet-stream", "Tus_Resumable": "1.0.0"}
MANY = 1000  # calls, and more than anybody tries


@pytest.fixture
def app(proxy: Proxy, engine: dict[str, str], prefix: str) -> TusFilter:
    keys = f"access_key={engine['S3_KEY']}&secret={engine['S3_SECRET']}&region={engine['S3_REGION']}"
    url = f"s3://{real.BUCKET}/{prefix.strip('/')}?endpoint={proxy.endpoint}&{keys}"
    return TusFilter(lambda *_: [], store=url, locker="memory:", hand_over="none", sweep_interval="none")


TROUBLE: dict[str, Callable[[Proxy], Any]] = {
    "busy": lambda proxy: proxy.fail("", 503, times=MANY),
    "broken": lambda proxy: proxy.fail("", 500, times=MANY),
    "keys that are valid no more": lambda proxy: proxy.fail("", 403, times=MANY),
    "gone": lambda proxy: proxy.cut("", 0, times=MANY),
}


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("size", [MIB, 2 * PART + 7])
def test_outage_is_told_as_503_and_loses_nothing(
    app: TusFilter, proxy: Proxy, caplog: pytest.LogCaptureFixture, trouble: str, size: int
) -> None:
    """A HEAD gets 423: at any other refusal clients begin anew. All come back later, and go on where they were."""
    data, half = os.urandom(size), size // 2
    created = ask(app, "POST", "/upload", Tus_Resumable="1.0.0", Upload_Length=str(size))
    path = urlsplit(created.location).path
    assert ask(app, "PATCH", path, data[:half], Upload_Offset="0", **PATCH).status_int == 204

    TROUBLE[trouble](proxy)
    answers = [
        ask(app, "PATCH", path, data[half:], Upload_Offset=str(half), **PATCH),
        ask(app, "HEAD", path, Tus_Resumable="1.0.0"),
        ask(app, "POST", "/upload", Tus_Resumable="1.0.0", Upload_Length="7"),
    ]
    with proxy.guard:
        proxy.rules.clear()

    assert [(answer.status_int, "Retry-After" in answer.headers) for answer in answers] == [
        (503, True),
        (423, True),
        (503, True),
    ]
    assert len([one for one in caplog.records if "object storage" in one.getMessage()]) >= 3
    offset = int(ask(app, "HEAD", path, Tus_Resumable="1.0.0").headers["Upload-Offset"])
    assert half <= offset <= size
    if offset < size:
        assert ask(app, "PATCH", path, data[offset:], Upload_Offset=str(offset), **PATCH).status_int == 204
    assert ask(app, "GET", path).body == data


def test_download_that_cannot_be_begun_is_told_as_503(app: TusFilter, proxy: Proxy) -> None:
    """And works once the engine does."""
    path = uploaded(app, b"hello")

    TROUBLE["busy"](proxy)
    refused = ask(app, "GET", path)
    with proxy.guard:
        proxy.rules.clear()

    assert (refused.status_int, "Retry-After" in refused.headers) == (503, True)
    assert ask(app, "GET", path).body == b"hello"
