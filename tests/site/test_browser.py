"""People at the pages, in a real browser: Debian's chromium, driven by playwright-core, with a server that may die.

What they do is in js/page.js and js/gallery.js, one scenario a fact; here each becomes a test. Screenshots are kept
in the directory that the variable SCREENSHOTS names. js/others.js has the few that also run in the engine of Safari
and in Firefox.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).with_name("js")
TIMEOUT = 150  # seconds for a scenario, with the browser's start
ROOT = HERE.parents[2]
PICTURES = ["--hooks", "tests.site.refusing:Pictures"]
ARGUMENTS = {
    "what is too big is refused before a byte is sent": ["--max-size", "1MB"],
    "a password opens the page and its uploads": ["--user", "anna:a long word"],
    "what the host refused says why each time, and can be started again": PICTURES,
    "a small file that the host refused says why": PICTURES,
}

pytestmark = [pytest.mark.clients, pytest.mark.slow]


CHROMIUM = {"/usr/bin/chromium": "chromium"}
OTHERS = {
    "WebKit": {"/usr/bin/WebKitWebDriver": "webkit2gtk-driver", "/usr/bin/Xvfb": "xvfb"},
    "Firefox": {"/usr/bin/firefox-esr": "firefox-esr"},
}


def missing(browser: dict[str, str]) -> str | None:
    """Why there is no browser to drive, if there is none."""
    if not shutil.which("node"):
        return "node is not installed (sudo apt-get install nodejs npm)"
    for program, package in browser.items():
        if not Path(program).exists():
            return f"{package} is not installed (sudo apt-get install {package})"
    if not (HERE / "node_modules" / "playwright-core").is_dir():
        return "playwright-core is not installed (npm ci in tests/site/js)"
    return None


def scenarios(script: str) -> list[str]:
    """Read from the source, so that tests have their names where nothing is installed, too."""
    return re.findall(r"^  async '(.+?)' \(", (HERE / script).read_text(), re.MULTILINE)


def play(script: str, scenario: str, home: Path, *arguments: str, browser: str = "") -> None:
    """Run one scenario; what it complains of is the failure."""
    if why := missing(OTHERS.get(browser, CHROMIUM)):
        pytest.skip(why)
    plan = {"python": sys.executable, "home": str(home), "serve": arguments, "browser": browser}
    shots = os.environ.get("SCREENSHOTS") or str(home)
    done = subprocess.run(
        ["node", str(HERE / script), scenario, json.dumps(plan)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        cwd=ROOT,  # where the hooks of tests are found
        env={**os.environ, "SCREENSHOTS": shots},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("scenario", scenarios("page.js"))
def test_page(scenario: str, tmp_path: Path) -> None:
    """On the upload page."""
    pytest.importorskip("PIL")
    from tests.site.gallery_of_photos import paint

    paint(tmp_path / "Harbour at dawn.jpg", (900, 600), 3)
    play("page.js", scenario, tmp_path, *ARGUMENTS.get(scenario, []))


@pytest.mark.parametrize("browser", OTHERS)
@pytest.mark.parametrize("scenario", scenarios("others.js"))
def test_page_in_other_browsers(browser: str, scenario: str, tmp_path: Path) -> None:
    """On the upload page, in the engine of Safari (WebKitGTK) and in Firefox."""
    play("others.js", scenario, tmp_path, browser=browser)


@pytest.mark.parametrize("scenario", scenarios("gallery.js"))
def test_gallery(scenario: str, tmp_path: Path) -> None:
    """In the gallery, and on the operators' page."""
    pytest.importorskip("PIL")
    from tests.site.gallery_of_photos import fill

    fill(tmp_path / "photos")
    play("gallery.js", scenario, tmp_path, "--gallery", str(tmp_path / "photos"), "--operators")


def test_functions_of_the_page() -> None:
    """Sizes, times, phrases and types, by node's own runner."""
    if not shutil.which("node"):
        pytest.skip("node is not installed (sudo apt-get install nodejs npm)")

    done = subprocess.run(["node", "--test"], cwd=HERE, capture_output=True, text=True, timeout=TIMEOUT)

    assert done.returncode == 0, done.stdout
