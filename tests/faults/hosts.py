"""Hosts for the tests, given to a server as `package.module:name`. Each does one thing that a host might do.

What they hear is written into the directory that LIVE_HOME names, since the test sits in another process.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from tests import live
from tests.apps import HOME
from tus import Hooks, Refused
from tus.http.messages import Request
from tus.upload import Metadata, Result, Upload

REFUSABLE = ("authorise", "before_create", "created", "before_finish", "finished", "before_terminate")


class Greedy(Hooks):
    """Fills the disk that the upload lies on as soon as it is finished; but once only."""

    def finished(self, upload: Upload) -> Result | None:
        with open("/proc/self/mounts") as mounts:
            places = [Path(line.split()[1]) for line in mounts]
        place = next(place for place in places if (place / upload.id).exists())
        free = os.statvfs(place)
        with open(place / "ballast", "ab") as ballast:
            if free.f_bavail and not ballast.tell():
                os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_bsize)
        return None


class GreedyWithWords(Greedy):
    """The same, with an answer that has to be remembered."""

    def finished(self, upload: Upload) -> Result | None:
        super().finished(upload)
        return Result(200, (("Content-Type", "text/plain"),), b"thank you")


class Attentive(Hooks):
    """Writes down all that it hears. What the file `refuse` names, it refuses; what the file `fail` names, fails."""

    def __init__(self) -> None:
        self.home = Path(os.environ[HOME])

    def hears(self, what: str, upload: Upload | None, *words: Any) -> None:
        with open(self.home / "heard", "a") as heard:
            heard.write(json.dumps([what, upload and upload.id, upload and upload.offset, *words]) + "\n")
        if what in self.named("refuse"):
            raise Refused(f"the host refuses: {what}", status=451, headers={"X-Reason": what})
        if what in self.named("fail"):
            raise RuntimeError(f"the host fails: {what}")

    def named(self, file: str) -> list[str]:
        try:
            return (self.home / file).read_text().split()
        except FileNotFoundError:
            return []

    def user(self, request: Request) -> str | None:
        return request.headers.get("x-user")

    def authorise(self, request: Request, intent: str, upload: Upload | None) -> None:
        self.hears("authorise", upload, intent)

    def before_create(self, request: Request, upload: Upload) -> Upload | None:
        self.hears("before_create", upload)
        if upload.metadata.text("wish") != "special":
            return None
        return upload.evolve(
            id="chosen", owner="root", limit=100, metadata=Metadata("title c3BlY2lhbA=="), expires=4e9
        )  # fmt: skip

    def created(self, upload: Upload) -> None:
        self.hears("created", upload)

    def progressed(self, upload: Upload) -> None:
        self.hears("progressed", upload)

    def before_finish(self, upload: Upload, file: BinaryIO) -> None:
        self.hears("before_finish", upload, file.read().decode("latin-1"))

    def finished(self, upload: Upload) -> Result | None:
        self.hears("finished", upload)
        return Result(204, (("X-Heard", "finished"),))

    def before_terminate(self, request: Request, upload: Upload) -> None:
        self.hears("before_terminate", upload)

    def terminated(self, upload: Upload) -> None:
        self.hears("terminated", upload)


attentive = Attentive() if HOME in os.environ else None  # given as an object, by its name


class Strict(Hooks):
    """Refuses at the point that the metadata `refuse` name, with the status that they give."""

    def before_finish(self, upload: Upload, file: BinaryIO) -> None:
        self.refuses("before_finish", upload)

    def finished(self, upload: Upload) -> Result | None:
        self.refuses("finished", upload)
        return None

    def refuses(self, point: str, upload: Upload) -> None:
        if upload.metadata.text("refuse") == point:
            status = int(upload.metadata.text("status") or 422)
            raise Refused("this is no film", status=status, headers={"X-Why": point})


class Waiting(Hooks):
    """Takes its time over what is finished: until the file `go` lies where the metadata says."""

    def finished(self, upload: Upload) -> Result | None:
        where = Path(upload.metadata.text("where"))
        (where / "entered").touch()
        live.until((where / "go").exists, within=10)
        return None


class Thorough(Attentive):
    """Looks at the content for as long as the file `busy` exists."""

    def before_finish(self, upload: Upload, file: BinaryIO) -> None:
        self.hears("before_finish", upload)
        live.until(lambda: not (self.home / "busy").exists(), within=20)
