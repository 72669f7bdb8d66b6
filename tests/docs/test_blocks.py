"""No block of code in the documents is only text: each is run, loaded or parsed by what it is meant for.

What cannot be is in a list here, with the reason.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import tus
from tests import documents
from tests.documents import Block
from tus.cli import main
from tus.options import BY_NAME

ROOT = documents.ROOT
ELSEWHERE = {"extending": "tests/test_extending.py", "tutorials/": "tests/docs/tutorials", "howto/": "tests/docs"}
NEED_ZOPE = "Zope is not installed where the tests run; tests/zope runs such views"
# Python that is compiled, and whose names of ours are looked up, but which is not run.
NOT_RUN = {
    "docs/zope.rst": NEED_ZOPE,
    "class Upload(UploadView)": NEED_ZOPE,
    "serve(demo_app": "it serves until it is ended",
}
# What may stand behind the prompt besides our own commands: it is there on the reader's machine, or the page says so.
PROGRAMS = {
    ".", "cd", "cp", "curl", "export", "head", "kubectl", "mkdir", "podman", "python", "python3", "sudo",
    "django-admin", "gunicorn", "mkwsgiinstance", "pserve", "runwsgi", "tar", "uvicorn", "zconsole",
}  # fmt: skip
NOT_PARSED = {
    "swift": "there is no compiler of Swift here",
    "docker": "tests/test_deploy.py runs its command",
    "text": "what a program says, a diagram, or a file of Zope that a tutorial's test loads",
}
PROXIES = "deploy/proxies/"  # whose files tests/proxies runs as they are
AWAY = re.compile(r"(s3|azblob|redis|rediss|postgresql|sqlite|hooks)\b")  # what an ini names that is not here


def ids(blocks: list[Block]) -> list[Any]:
    slow = {"javascript": [pytest.mark.slow]}  # node has to start
    return [pytest.param(block, id=str(block), marks=slow.get(block.language, ())) for block in blocks]


def own(blocks: list[Block]) -> list[Block]:
    """Without those that have a test of their own."""
    return [block for block in blocks if not block.caption and not any(part in str(block) for part in ELSEWHERE)]


# Python


def programs() -> dict[Path, list[Block]]:
    """The pages with Python; what a page defines, its later blocks may use."""
    found: dict[Path, list[Block]] = {}
    for block in own(documents.every("python")):
        if not any(word in f"{block} {block.code}" for word in NOT_RUN):
            found.setdefault(block.page, []).append(block)
    return found


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in programs()])
def test_python_runs(page: Path, tmp_path: Path) -> None:
    """In the order of the page, with nothing but the directories in another place."""
    names: dict[str, Any] = {}

    for block in programs()[page]:
        code = block.code.replace("/var/uploads", str(tmp_path)).replace("/srv/films", str(tmp_path))
        for module in imported(block):
            pytest.importorskip(module, reason=f"{module} is not installed (pip install -e .[examples])")
        exec(compile(f"from __future__ import annotations\n{code}", str(block), "exec"), names)


def imported(block: Block) -> list[str]:
    nodes = [node for node in ast.walk(parsed(block)) if isinstance(node, ast.ImportFrom)]
    return [str(node.module).partition(".")[0] for node in nodes]


def parsed(block: Block) -> ast.Module:
    """A line of a table, as a page shows it, is nothing without its table."""
    try:
        return ast.parse(block.code)
    except SyntaxError:
        return ast.parse(f"{{{block.code}}}")


@pytest.mark.parametrize("block", ids([b for b in documents.every("python") if b.page.stem != "extending"]))
def test_python_names_what_there_is(block: Block) -> None:
    """What it imports from us is there, and the options that it gives are options."""
    for node in ast.walk(parsed(block)):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "tus":
            if "zope2" not in str(node.module):
                module = import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("TusFilter", "TusASGI", "Tus", "AsyncTus"):
            assert {word.arg for word in node.keywords if word.arg} <= set(BY_NAME)


# Ini


def sections(block: Block) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block.code)
    return {name: dict(parser[name]) for name in parser.sections()}


@pytest.mark.parametrize("block", ids(documents.every("ini")))
def test_ini_names_options_that_there_are(block: Block) -> None:
    """For the filter, and as variables of the environment."""
    for settings in sections(block).values():
        if re.match(r"egg:tus(#main)?$", settings.get("use", "")):
            assert set(settings) - {"use"} <= set(BY_NAME)
        for words in (settings.get("Environment", ""),):
            assert {word.partition("=")[0][4:].lower() for word in words.split()} <= set(BY_NAME)


@pytest.mark.parametrize("block", ids([b for b in own(documents.every("ini")) if "[filter:" in b.code]))
def test_ini_is_loaded(block: Block, tmp_path: Path) -> None:
    """By paste.deploy, each filter of it; what it names on other machines is left out."""
    deploy = pytest.importorskip("paste.deploy")
    lines = [line for line in block.code.splitlines() if not AWAY.search(line.partition("=")[2] + line[:5])]
    ini = tmp_path / "site.ini"
    ini.write_text(re.sub(r"/(var|srv)/", f"{tmp_path}/", "\n".join(lines).replace("hand_over = url", "")))

    for section in re.findall(r"^\[filter:(.+)\]$", block.code, re.MULTILINE):
        wrap = deploy.loadfilter(f"config:{ini}", name=section)

        assert callable(wrap(lambda environ, start_response: [b""]))


# What is typed


def lines() -> Iterator[tuple[Block, str]]:
    """What is typed, without prompts and what a program says."""
    for block in documents.every("console", "sh"):
        text = block.code.replace("\\\n", " ")
        for line in text.splitlines():
            if block.language == "sh" or line.startswith("$ "):
                yield block, line.removeprefix("$ ")


def typed() -> list[tuple[Block, list[str]]]:
    """One command each, as its words; variables that stand before it are left out."""
    found = []
    for block, line in lines():
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                found.append((block, words))
    return found


def flags(*command: str) -> str:
    """What the command says of itself."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        main([*command, "--help"])
    return said.getvalue()


def check_tus(words: list[str]) -> None:
    named, *rest = [word for word in words if word != "|"]
    explained = flags(named)
    for word in rest:
        if word.startswith("--"):
            assert re.search(rf"(?<![\w-]){re.escape(word.partition('=')[0])}(?![\w-])", explained), word


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


def check_pip(words: list[str]) -> None:
    """Extras that we name are ours."""
    extras = re.findall(r'^        "(\w+)":', (ROOT / "setup.py").read_text(), re.MULTILINE)
    for word in words[1:]:
        if found := re.match(r"tus\[(.+)\]$", word):
            assert set(found[1].split(",")) <= set(extras)


CHECKS: dict[str, Callable[[list[str]], None]] = {"tus": check_tus, "make": check_make, "pip": check_pip}


@pytest.mark.parametrize(
    ("block", "words"), [pytest.param(block, words, id=f"{block} {words[:3]}") for block, words in typed()]
)
def test_command_is_one_that_there_is(block: Block, words: list[str]) -> None:
    """With these options, if it is ours."""
    name = words[0].removeprefix(".venv/bin/")

    if name in CHECKS:
        CHECKS[name](words[1:])
    elif "/" in name:
        assert (ROOT / name).exists()
    else:
        assert name in PROGRAMS, f"{name} is not known here"
    if words[0] == "python" and words[1].endswith(".py") and "manage.py" not in words:
        assert (ROOT / words[1]).exists()


def mentioned() -> list[tuple[str, str]]:
    """Commands in the middle of a sentence."""
    found = []
    for page in documents.pages():
        text = re.sub(r"\s+", " ", page.read_text("utf-8"))
        for literal in re.findall(r"``(tus [a-z]+(?: [^`]*)?)``", text):
            found.append((page.stem, literal))
    return sorted(set(found))


@pytest.mark.parametrize(("page", "command"), mentioned())
def test_command_in_a_sentence_is_one_that_there_is(page: str, command: str) -> None:
    """With these options."""
    with contextlib.suppress(ValueError):  # of a quotation mark that is never closed
        check_tus(shlex.split(command)[1:])


# Other languages


def parse_json(code: str) -> None:
    json.loads(code)


def parse_yaml(code: str) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install pyyaml)")
    assert list(yaml.safe_load_all(code))


def parse_xml(code: str) -> None:
    names = 'xmlns="urn:zope" xmlns:browser="urn:browser"'
    ElementTree.fromstring(f"<all {names}>{code}</all>")


class Tags(HTMLParser):
    """Which elements were opened and not closed."""

    VOID = ("br", "input", "link", "meta", "progress")

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.opened.pop() == tag


def parse_html(code: str) -> None:
    tags = Tags()
    tags.feed(code)
    assert tags.opened == []


def parse_javascript(code: str) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed (sudo apt-get install nodejs)")
    # An option of an object, as a page shows it, is none without its object.
    for text in (code, f"({{\n{code}\n}})"):
        done = subprocess.run([node, "--input-type=module", "--check", "-"], input=text, capture_output=True, text=True)
        if done.returncode == 0:
            return
    raise AssertionError(done.stderr)


PARSERS = {
    "json": parse_json,
    "yaml": parse_yaml,
    "xml": parse_xml,
    "html": parse_html,
    "javascript": parse_javascript,
}


@pytest.mark.parametrize("block", ids(documents.every(*PARSERS)))
def test_block_is_parsed(block: Block) -> None:
    """By a parser of its language."""
    PARSERS[block.language](block.code)


def test_every_block_says_its_language() -> None:
    """A block without one is one that no test knows what to do with."""
    every = [block for page in documents.pages() for block in documents.blocks(page)]
    tested = {"python", "ini", "console", "sh", *PARSERS, *NOT_PARSED}

    assert [str(block) for block in every if block.language not in tested and PROXIES not in block.included] == []
    assert len(every) > 100


def test_reasons_are_still_true() -> None:
    """What is not run or parsed is still in the documents."""
    text = " ".join(f"{block} {block.code}" for block in documents.every("python"))

    assert all(word in text for word in NOT_RUN)
    assert all(documents.every(language) for language in NOT_PARSED)
    assert tus.__version__ and sys.version_info >= (3, 10)
