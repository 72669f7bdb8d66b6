"""Options: from Python, from text, from the environment; and what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tus import OptionError, Options
from tus.cli.options import table
from tus.options import BY_NAME, OPTIONS
from tus.tus import hooks_of


def options(environ: dict[str, str] | None = None, **given: Any) -> Options:
    return Options(given, environ=environ or {})


def test_defaults_are_options() -> None:
    """Each default is a text that its own option understands."""
    found = options()

    assert {option.name for option in OPTIONS} == {name for name in vars(found) if name[0] != "_"}
    assert (found.upload_path, found.max_size, found.upload_valid_duration) == ("/upload", None, 7 * 86400)
    assert (found.hand_over, found.send_file, found.cors_origins, found.durable) == ("path", False, ("*",), "finish")


def test_every_option_is_annotated() -> None:
    """So that a type checker knows them all."""
    assert set(Options.__annotations__) == set(BY_NAME)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5242880", 5242880),
        ("1GB", 10**9),
        ("1 gb", 10**9),
        ("1g", 10**9),
        ("1GiB", 2**30),
        ("1.5MiB", 3 * 2**19),
        ("2KiB", 2048),
        ("3TB", 3 * 10**12),
        (" 500MB ", 500 * 10**6),
        ("none", None),
        ("unlimited", None),
        ("", None),
        (7, 7),
    ],
)
def test_size_is_read(text: Any, size: int | None) -> None:
    """Powers of 1000, with an i of 1024."""
    assert options(max_size=text).max_size == size


@given(st.integers(0, 2**63))
def test_size_is_exact(size: int) -> None:
    """No digit is lost on the way through a floating-point number."""
    assert options(max_size=str(size)).max_size == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("90", 90.0),
        ("90s", 90.0),
        ("1.5h", 5400.0),
        ("30min", 1800.0),
        ("30 m", 1800.0),
        ("2H", 7200.0),
        ("7d", 604800.0),
        ("1w", 604800.0),
        ("none", None),
        (3600, 3600.0),
        (0.5, 0.5),
    ],
)
def test_duration_is_in_seconds(text: Any, seconds: float | None) -> None:
    """Really seconds."""
    assert options(upload_valid_duration=text).upload_valid_duration == seconds


@pytest.mark.parametrize("text", ["true", "True", "yes", "on", "1", True, 1])
def test_flag_is_true(text: Any) -> None:
    """The words of an ini."""
    assert options(sweep_finished=text).sweep_finished is True


@pytest.mark.parametrize("text", ["false", "No", "off", "0", False, 0])
def test_flag_is_false(text: Any) -> None:
    """And not a text that is not empty."""
    assert options(download=text).download is False


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("upload_path", "/files/", "/files"),
        ("upload_path", "/", "/"),
        ("upload_path", "", "/"),
        ("public_url", "https://a.example/files/", "https://a.example/files"),
        ("trusted_proxies", "10.0.0.0/8, ::1 unix", ("10.0.0.0/8", "::1", "unix")),
        ("trusted_proxies", ["127.0.0.1"], ("127.0.0.1",)),
        ("cors_origins", "https://a.example https://*.b.example", ("https://a.example", "https://*.b.example")),
        ("cors_origins", "*", ("*",)),
        (
            "cors_origins",
            "http://localhost:3000, capacitor://localhost",
            ("http://localhost:3000", "capacitor://localhost"),
        ),
        ("cors_headers", None, ()),
        ("tmp_file_dir", "~/x", os.path.expanduser("~/x")),
        ("tmp_file_dir", Path("/x"), "/x"),
        ("durable", "Always", "always"),
    ],
)
def test_value_is_understood(name: str, value: Any, found: Any) -> None:
    """As people write it in Python, and in a file."""
    assert getattr(options(**{name: value}), name) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_size", "big"),
        ("max_size", "-1"),
        ("max_size", -1),
        ("max_size", "1XB"),
        ("max_size", True),
        ("max_size", 1.5),
        ("max_size", "9" * 400),
        ("upload_valid_duration", "7 days"),
        ("upload_valid_duration", "soon"),
        ("upload_valid_duration", -1),
        ("upload_valid_duration", float("nan")),
        ("upload_valid_duration", float("inf")),
        ("upload_valid_duration", "9999999d"),
        ("sweep_interval", "9" * 400),
        ("download", "maybe"),
        ("download", 2),
        ("upload_path", "files"),
        ("upload_path", "/a b"),
        ("upload_path", "/a?b"),
        ("upload_path", 5),
        ("public_url", "a.example/files"),
        ("public_url", "ftp://a.example"),
        ("public_url", "https://a.example/?x"),
        ("location", "absolute"),
        ("trusted_proxies", "nginx"),
        ("trusted_proxies", "10.0.0.0/99"),
        ("trusted_proxies", 5),
        ("cors_origins", True),
        ("cors_origins", "example.com"),
        ("cors_origins", "https://a.example *.b.example"),
        ("cors_origins", "https://a.example/page"),
        ("hand_over", "both"),
        ("durable", "yes"),
        ("tmp_file_dir", 5),
    ],
)
def test_bad_value_names_the_option(name: str, value: Any) -> None:
    """And fails when the application is built."""
    with pytest.raises(OptionError, match=f"option {name}: "):
        options(**{name: value})


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("tmp_dir", "tmp_file_dir"),
        ("upload-path", "upload_path"),
        ("Max_Size", "max_size"),
        ("maxsize", "max_size"),
        ("cors_origin", "cors_origins"),
    ],
)
def test_unknown_option_suggests_the_nearest(wrong: str, meant: str) -> None:
    """A slip of the finger is not silently ignored."""
    with pytest.raises(OptionError, match=f"unknown option {wrong}; did you mean {meant}"):
        options(**{wrong: "x"})


def test_unknown_option_without_a_neighbour_is_named() -> None:
    """And nothing is suggested that has nothing to do with it."""
    with pytest.raises(OptionError, match="unknown option xyzzy$"):
        options(xyzzy="x")


def test_environment_is_read() -> None:
    """TUS_ and the name of the option, in capitals."""
    assert options({"TUS_MAX_SIZE": "1KB", "MAX_SIZE": "2KB"}).max_size == 1000


def test_what_is_given_wins_over_the_environment() -> None:
    """The nearer one decides."""
    assert options({"TUS_MAX_SIZE": "1KB"}, max_size=5).max_size == 5


def test_bad_environment_names_the_variable() -> None:
    """Which is where the operator has to look."""
    with pytest.raises(OptionError, match="option TUS_MAX_SIZE: 'x' is not a size"):
        options({"TUS_MAX_SIZE": "x"})


def test_real_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to pass it."""
    monkeypatch.setenv("TUS_UPLOAD_PATH", "/files")

    assert Options().upload_path == "/files"


def test_send_file_means_hand_over_file() -> None:
    """Two names for one thing agree."""
    assert options(send_file=True).hand_over == "file"
    assert options(hand_over="file").send_file is True
    assert options(send_file=True, hand_over="file").send_file is True


def test_contradictions_are_refused() -> None:
    """Nobody can guess which of two was meant."""
    with pytest.raises(OptionError, match="contradict"):
        options(send_file=True, hand_over="path")
    with pytest.raises(OptionError, match="cors_credentials"):
        options(cors_credentials=True)


def test_explicit_hand_over_wins_over_the_environment() -> None:
    """A container's TUS_SEND_FILE does not stop an application whose ini says `hand_over = form`."""
    assert options({"TUS_SEND_FILE": "true"}, hand_over="form").hand_over == "form"
    assert options({"TUS_HAND_OVER": "form"}, send_file=True).hand_over == "file"
    assert options({"TUS_HAND_OVER": "file"}, send_file=False).hand_over == "path"


def test_contradiction_within_the_environment_is_refused() -> None:
    """Neither of the two is nearer than the other."""
    with pytest.raises(OptionError, match="contradict"):
        options({"TUS_SEND_FILE": "true", "TUS_HAND_OVER": "form"})


@pytest.mark.parametrize("slip", ["TUS_MAXSIZE", "TUS_MAX_SISE", "TUS_MAX_SIZES"])
def test_variable_that_is_nearly_an_option_is_refused(slip: str) -> None:
    """A limit that was meant is not silently missing."""
    with pytest.raises(OptionError, match=f"unknown variable {slip}; did you mean TUS_MAX_SIZE"):
        options({slip: "1"})


@pytest.mark.parametrize("foreign", ["TUS_SERVICE_HOST", "TUS_UPLOAD_PORT", "TUS_UPLOAD_URL", "TUS_ENABLED", "TUSK"])
def test_variable_of_others_is_left_alone(foreign: str) -> None:
    """Kubernetes and other programs have variables that begin like ours."""
    assert options({foreign: "1"}).max_size is None


@pytest.mark.parametrize("named", [int, 0, False, object(), object, "os:getcwd"])
def test_hooks_that_are_none_are_refused(named: Any) -> None:
    """What has no method of `tus.Hooks` would silently check nothing."""
    with pytest.raises(OptionError, match="option hooks: .* is not a tus.Hooks"):
        hooks_of(named)


def test_choices_are_listed() -> None:
    """In the documents' table, and by `tus options`, which show the same text."""
    assert "One of ``auto``, ``url`` and ``path``." in table()
    assert "One of ``path``, ``file``, ``form``, ``url`` and ``none``." in table()


def test_table_has_every_option() -> None:
    """docs/options.rst is made from it."""
    for option in OPTIONS:
        assert f"``{option.name}``" in table()


def test_options_can_be_shown() -> None:
    """For `tus options`, and for whoever debugs."""
    assert repr(options(max_size=5)).startswith("Options(tmp_file_dir='', ")
    assert "max_size=5" in repr(options(max_size=5))


@pytest.mark.parametrize("given", ["0640", "640", "0o640", 0o640])
def test_mode_is_octal(given: object) -> None:
    """As `chmod` has it, and in Python as a number."""
    assert options(file_mode=given).file_mode == 0o640


@pytest.mark.parametrize("given", ["rw-r-----", "0o", "640.0", "0888", "0400", "0777", 640, -1, True, 1.5])
def test_mode_that_makes_no_sense_is_refused(given: object) -> None:
    """Words, decimal digits, and what keeps us from our own files."""
    with pytest.raises(OptionError, match="file_mode"):
        options(file_mode=given)
