"""A crowd at the gallery: siege, and wrk as a second opinion, over pages, thumbnails and photos on our own server.

    python bench/siege.py [--seconds 10] [--cold] [--threads N] [--visitors 350]

Warm, every thumbnail is there. Cold, forty new 24-megapixel photos have none, and they are made during the run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.site.gallery_of_photos import paint  # noqa: E402

PHOTOS, NEW = 48, 40
LARGE = (6000, 4000)  # pixels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--visitors", type=int, default=350)
    parser.add_argument("--threads", default="8", help="of the server, for short requests")
    parser.add_argument("--workers", default="1", help="processes of the server")
    parser.add_argument("--cold", action="store_true", help="with new photos, whose thumbnails are not made")
    parser.add_argument("--keep-alive", action="store_true", help="let siege keep its connections")
    parser.add_argument("--wrk", action="store_true", help="ask wrk as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siege-") as directory:
        home = Path(directory)
        fill(home / "photos", cold=args.cold)
        with Served(home / "photos", args.threads, args.workers) as server:
            urls = addresses(server.url, cold=args.cold)
            (home / "urls.txt").write_text("\n".join(urls) + "\n")
            print(f"{len(urls)} addresses, {args.visitors} visitors, {args.threads} threads, {args.workers} processes")
            siege(home, args)
            if args.wrk:
                wrk(home, urls, args)
    return 0


def fill(photos: Path, *, cold: bool) -> None:
    """Photos of some 200 kB; and cold ones, of 24 megapixels and several megabytes."""
    (photos / "album").mkdir(parents=True)
    for number in range(PHOTOS):
        paint(photos / "album" / f"{number}.jpg", (1800, 1200), number, 93)
    subprocess.run(
        [sys.executable, "-m", "tus", "thumbs", str(photos)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    if cold:
        (photos / "new").mkdir()
        noisy(photos / "new" / "0.jpg")
        for number in range(1, NEW):
            shutil.copy(photos / "new" / "0.jpg", photos / "new" / f"{number}.jpg")


def noisy(path: Path) -> None:
    """24 megapixels with so much in them that a camera could have taken them."""
    from PIL import Image

    noise = Image.effect_noise((3000, 2000), 50).resize(LARGE).convert("RGB")
    noise.save(path, quality=92)
    print(f"a new photo has {path.stat().st_size / 1e6:.1f} MB")


class Served:
    """`tus serve --gallery` in a process of its own."""

    def __init__(self, photos: Path, threads: str, workers: str) -> None:
        options = ["--port", "0", "--workers", workers, "--set", f"threads={threads}", "--set", "backlog=2048"]
        command = [sys.executable, "-m", "tus", "serve", "--gallery", str(photos), *options]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout
        found = re.search(r"http://[^/]+/", self._process.stdout.readline())
        assert found, "the server does not start"
        self.url = found[0]

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        usage = Path(f"/proc/{self._process.pid}/status").read_text()
        print("server's memory at most:", re.search(r"VmHWM:\s*(.*)", usage)[1])  # type: ignore[index]
        self._process.terminate()
        self._process.wait(20)


def addresses(start: str, *, cold: bool) -> list[str]:
    """Pages, all thumbnails, and a dozen photos."""
    pages = [start, urljoin(start, "album/"), urljoin(start, "album/1.jpg/"), urljoin(start, "album/2.jpg/")]
    found = thumbnails(pages[1])
    photos = [urljoin(start, f"album/{number}.jpg") for number in range(12)]
    if cold:
        new = urljoin(start, "new/")
        pages, found = [*pages, new], found[: PHOTOS - NEW] + thumbnails(new)
    return [*pages, *found, *photos]


def thumbnails(page: str) -> list[str]:
    text = urllib.request.urlopen(page).read().decode().replace("&amp;", "&")
    return [urljoin(page, source) for source in re.findall(r'<img src="([^"]+)"', text)]


def siege(home: Path, args: argparse.Namespace) -> None:
    connection = "keep-alive" if args.keep_alive else "close"
    settings = f"limit = 1000\nverbose = false\nlogging = false\nparser = false\nconnection = {connection}\n"
    (home / "siegerc").write_text(settings)
    command = ["siege", "-R", str(home / "siegerc"), "-t", f"{args.seconds}s", "-c", str(args.visitors), "-b", "-i"]
    # siege sometimes hangs when it should end.
    limited = ["timeout", "-s", "KILL", str(args.seconds + 30), *command, "-f", str(home / "urls.txt")]
    done = subprocess.run(limited, capture_output=True, text=True, env={**os.environ, "HOME": str(home)})
    for line in (done.stdout + done.stderr).splitlines():
        if re.search(r"(?i)(transaction|availability|failed|longest|successful|throughput|elapsed)", line):
            print("siege:", " ".join(line.replace("\t", " ").split()))
    if done.returncode:
        print(f"siege: ended with {done.returncode}")


def wrk(home: Path, urls: list[str], args: argparse.Namespace) -> None:
    paths = ",".join(f'"{url.split("/", 3)[3]}"' for url in urls)
    script = f"""paths = {{{paths}}}
request = function() return wrk.format("GET", "/" .. paths[math.random(#paths)]) end
"""
    (home / "wrk.lua").write_text(script)
    start = time.monotonic()
    command = ["wrk", "-t2", f"-c{args.visitors}", f"-d{args.seconds}s", "--latency", "-s", str(home / "wrk.lua")]
    done = subprocess.run([*command, urls[0]], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if re.search(r"Requests/sec|99%|Socket errors|Non-2xx|Max|Latency  ", line):
            print("wrk:", " ".join(line.split()))
    assert time.monotonic() - start < args.seconds + 30


if __name__ == "__main__":
    sys.exit(main())
