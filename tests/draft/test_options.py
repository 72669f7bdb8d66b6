"""The options of the draft: which words `draft_targets` takes, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from tus.adapters.targets import Targets
from tus.errors import OptionError
from tus.options import Options


def claims(words: str, method: str, path: str, **environ: Any) -> bool:
    """Whether such targets have such a request."""
    offer = {"HTTP_UPLOAD_COMPLETE": "?1", "REQUEST_METHOD": method, "PATH_INFO": path}
    return Targets(Options({"draft_targets": words}, environ={}).draft_targets).has({**offer, **environ})


@pytest.mark.parametrize(
    "words, method, path",
    [
        ("/photos", "POST", "/photos"),
        ("/photos", "PUT", "/photos"),
        ("/photos/*", "PUT", "/photos/a/b"),
        ("PUT", "PUT", "/anything"),
        ("POST:/a PUT:/b", "PUT", "/b"),
        ("/gr\xfcn", "POST", "/gr\xc3\xbcn"),
        ("/a.b", "POST", "/a.b"),
        ("PUT", "OPTIONS", "/anything"),
        ("POST:/a", "OPTIONS", "/a"),
    ],
)
def test_targets(words: str, method: str, path: str) -> None:
    """Paths, methods, and a method of a path; and OPTIONS of each."""
    assert claims(words, method, path)


@pytest.mark.parametrize(
    "words, method, path",
    [
        ("/photos", "POST", "/photos/"),
        ("/photos", "POST", "/photos2"),
        ("/photos/*", "POST", "/photos"),
        ("PUT", "POST", "/anything"),
        ("POST:/a", "PUT", "/a"),
        ("/a.b", "POST", "/axb"),
        ("POST:/a", "OPTIONS", "/b"),
    ],
)
def test_no_targets(words: str, method: str, path: str) -> None:
    """Nothing else."""
    assert not claims(words, method, path)


def test_without_the_offer_nothing_is_a_target() -> None:
    """No field, no look."""
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/photos"}

    assert not Targets(("/photos",)).has(environ)


@pytest.mark.parametrize("words", ["photos", "post:/photos", "POST:photos", "/a ;"])
def test_words_that_make_no_sense(words: str) -> None:
    """They fail where the application is built."""
    with pytest.raises(OptionError, match="draft_targets"):
        Options({"draft_targets": words}, environ={})
