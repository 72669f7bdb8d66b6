"""What lies in deploy/ is what an operator copies: its commands run, and its units are what systemd accepts."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import live, wire

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"

pytestmark = [pytest.mark.slow]


def needed(program: str) -> str:
    found = shutil.which(program)
    if not found:
        pytest.skip(f"{program} is not installed (apt install systemd)")
    return found


def answers(words: Sequence[str], port: int, home: Path) -> bytes:
    """What OPTIONS is answered by a server that this command starts; then it has to end by itself, as told."""
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=home, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        answer = live.until(lambda: asked(port), within=30)
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0, log.read_text()
    return bytes(answer)


def asked(port: int) -> bytes:
    try:
        answer = wire.ask(("127.0.0.1", port), "OPTIONS", "/files", {"Host": "127.0.0.1", "Connection": "close"})
    except OSError:
        return b""
    return str(answer["Tus-Version"]).encode()


def ours(words: list[str], directory: Path) -> list[str]:
    """The same command with the package of this checkout, and a directory of the test's."""
    assert words[0].endswith("tus")
    return [sys.executable, "-m", "tus", *(str(directory) if word.startswith("/") else word for word in words[1:])]


@pytest.mark.parametrize("unit", ["tus.service", "tus.socket"])
def test_systemd_accepts_the_unit(unit: str, tmp_path: Path) -> None:
    """No word is misspelled, and none is ignored."""
    verify = needed("systemd-analyze")
    for path in DEPLOY.glob("tus.*"):
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/tus/bin/tus", "/bin/true"))

    done = subprocess.run(
        [verify, "verify", "--man=no", str(tmp_path / unit)],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )

    own = [line for line in done.stderr.splitlines() if "tus." in line]
    assert (done.returncode, own) == (0, [])


def test_service_listens_on_the_socket_that_systemd_passes(tmp_path: Path) -> None:
    """Its own command line, started as systemd does it when the first client comes."""
    activate = needed("systemd-socket-activate")
    command = re.search(r"^ExecStart=(.+)$", (DEPLOY / "tus.service").read_text(), re.MULTILINE)
    assert command
    port = live.free_port()

    words = ours(shlex.split(command[1]), tmp_path / "uploads")
    path = f"--setenv=PYTHONPATH={ROOT}"

    assert answers([activate, path, f"--listen=127.0.0.1:{port}", *words], port, tmp_path) == b"1.0.0"


def test_container_serves(tmp_path: Path) -> None:
    """Its command is one that the package has, and ends as the container is told to."""
    text = (DEPLOY / "Containerfile").read_text()
    words = json.loads(text.partition("\nCMD ")[2])
    port = live.free_port()

    command = [*ours(words, tmp_path / "uploads"), "--port", str(port)]

    assert answers(["env", f"PYTHONPATH={ROOT}", *command], port, tmp_path) == b"1.0.0"


def test_kubernetes_names_options_that_there_are(tmp_path: Path) -> None:
    """Its files parse, its command runs, and its variables are those of options."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (pip install pyyaml)")
    deployment, service, ingress = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    port = live.free_port()

    from tus.options import OPTIONS

    names = {f"TUS_{option.name.upper()}" for option in OPTIONS}
    command = [*ours(container["command"], tmp_path / "uploads"), "--port", str(port)]

    assert {variable["name"] for variable in container["env"]} <= names
    assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["targetPort"]
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] == service["metadata"]["name"]
    assert answers(["env", f"PYTHONPATH={ROOT}", *command], port, tmp_path) == b"1.0.0"
