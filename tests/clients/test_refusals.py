"""What real clients do with an upload that the host refuses: they stop with the reason, and can begin anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import MakeFile, Service
from tests.clients.test_tus_js_client import begun, methods, missing, result

KINDS = ("ours", "gunicorn-workers")
REASON = "the content is evil\n"

pytestmark = [
    pytest.mark.clients,
    # tuspy leaves the file open that it measures.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def strict(service: Service) -> Service:
    """A collection whose hook refuses evil content."""
    return Service(service.server, service.server.collection(hooks="tests.apps:Policy"))


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A file that the hook does not like."""
    path = tmp_path / "evil.bin"
    path.write_bytes(b"evil" * 100_000)
    return path


def tus_js(service: Service, file: Path, **plan: Any) -> dict[str, Any]:
    """How tus-js-client fails."""
    why = missing()
    if why:
        pytest.skip(why)
    storage = str(file.with_name("urls.json"))
    return result(begun({"file": str(file), "endpoint": service.endpoint, "storage": storage, "fails": True, **plan}))


@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_tus_js_client_stops_with_the_reason(strict: Service, evil: Path) -> None:
    """One upload, no retry; and what it remembers makes it begin anew, once, and stop with the reason again."""
    first = tus_js(strict, evil)
    second = tus_js(strict, evil, resume=True)

    assert (first["status"], first["body"], methods(first)) == (422, REASON, ["POST", "PATCH"])
    assert (second["status"], second["body"], methods(second)) == (422, REASON, ["HEAD", "POST", "PATCH"])
    assert strict.handed_over() == []


@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_tus_js_client_stops_after_a_refused_creation(strict: Service, evil: Path) -> None:
    """The file came whole with the POST."""
    told = tus_js(strict, evil, options={"uploadDataDuringCreation": True})

    assert (told["status"], told["body"], methods(told)) == (422, REASON, ["POST"])


@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_tus_js_client_stops_after_a_refused_concatenation(strict: Service, evil: Path) -> None:
    """The parts are good, and the whole is not."""
    told = tus_js(strict, evil, options={"parallelUploads": 2})

    assert (told["status"], told["body"]) == (422, REASON)
    assert methods(told).count("POST") == 3


@pytest.mark.parametrize("protocol", ["ietf-draft-03", "ietf-draft-05"])
@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_tus_js_client_stops_with_the_reason_in_the_draft(strict: Service, evil: Path, protocol: str) -> None:
    """Whoever comes back hears the final answer again, and sends nothing."""
    plan = {"buffer": True, "options": {"protocol": protocol}}

    first = tus_js(strict, evil, **plan)
    second = tus_js(strict, evil, **plan, resume=True)

    assert (first["status"], first["body"], methods(first)) == (422, REASON, ["POST", "PATCH"])
    assert (second["status"], second["body"], methods(second)) == (422, REASON, ["HEAD", "PATCH"])
    assert [request["offset"] for request in second["requests"]][1] == evil.stat().st_size


@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_tuspy_stops_with_the_reason(strict: Service, evil: Path, tmp_path: Path) -> None:
    """The last chunk fails with it. With retries, and in a later process that knows the URL, the question how far the
    upload is fails with the status, and nothing is sent."""
    client = pytest.importorskip("tusclient.client", reason="tuspy is not installed (pip install tuspy)")
    exceptions = pytest.importorskip("tusclient.exceptions")
    storage = pytest.importorskip("tusclient.storage.filestorage")

    def uploader(retries: int = 0) -> Any:
        settings = {"store_url": True, "url_storage": storage.FileStorage(str(tmp_path / "urls"))}
        return client.TusClient(strict.endpoint).uploader(str(evil), retries=retries, retry_delay=0, **settings)

    with pytest.raises(exceptions.TusUploadFailed) as first:
        uploader().upload()
    with pytest.raises(exceptions.TusCommunicationError) as second:
        uploader().upload()
    (tmp_path / "urls").unlink()
    with pytest.raises(exceptions.TusCommunicationError) as third:
        uploader(retries=1).upload()

    assert (first.value.status_code, first.value.response_content) == (422, REASON.encode())
    assert second.value.status_code == third.value.status_code == 422


@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_client_begins_anew_after_the_refused_upload_was_removed(
    strict: Service, evil: Path, make_file: MakeFile
) -> None:
    """DELETE of what was refused, and another file: nothing is in the way."""
    tus_js(strict, evil)
    url = f"{strict.endpoint}/{strict.uploads()[0].name}"

    removed = strict.ask("DELETE", url)
    good = tus_js(strict, make_file(1000))

    assert (removed.status, strict.ask("HEAD", url).status) == (204, 404)
    assert methods(good) == ["POST", "PATCH"] and len(strict.handed_over()) == 1
