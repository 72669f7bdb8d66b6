"""A command on a terminal of its own: what is typed, and what a person sees there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT

pyte = pytest.importorskip("pyte", reason="pyte is not installed, which knows what a terminal shows")

PATIENCE = 60.0  # seconds until a test gives up
SOME_LINES = 1000  # that have left the screen, and are remembered


class Session:
    """A running command, whose terminal is this one."""

    def __init__(
        self, words: list[str], *, columns: int = 80, lines: int = 24, output: Path | None = None, **environ: str
    ) -> None:
        """Standard output goes to the file `output`, if one is given."""
        self._far, near = pty.openpty()
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen = pyte.HistoryScreen(columns, lines, history=SOME_LINES, ratio=1.0)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        with open(output or os.devnull, "wb") as file:
            self.process = subprocess.Popen(
                words, cwd=ROOT, stdin=near,
                stdout=file if output else near, stderr=near, env={**env, "TERM": "xterm", **environ},
                start_new_session=True, preexec_fn=_take_terminal,
            )  # fmt: skip
        os.close(near)

    def type(self, text: str) -> None:
        """As a person does; Ctrl-C is "\\x03"."""
        os.write(self._far, text.encode())

    @property
    def shown(self) -> list[str]:
        """The lines of the screen that are not empty, with those above that have left it."""
        above = ["".join(line[n].data for n in range(self.screen.columns)) for line in self.screen.history.top]
        return [text.rstrip() for text in (*above, *self.screen.display) if text.strip()]

    @property
    def text(self) -> str:
        """The same as one text, whatever lines were broken by the edge."""
        return "\n".join(self.shown)

    def until(self, found: Callable[[Session], object]) -> Session:
        """Wait until something is to be seen."""
        end = time.monotonic() + PATIENCE
        while not found(self):
            assert self._read(end - time.monotonic()), f"it has ended after\n{self.text}"
        return self

    def sees(self, words: str) -> Session:
        """Wait for these words."""
        return self.until(lambda session: words in session.text)

    def end(self) -> int:
        """Its exit status, when everything was said."""
        end = time.monotonic() + PATIENCE
        while self._read(end - time.monotonic()):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, seconds: float) -> bool:
        """Take what is there next; false when there is no more."""
        assert select.select([self._far], [], [], max(0.0, seconds))[0], f"nothing comes after\n{self.text}"
        try:
            data = os.read(self._far, 65536)
        except OSError:  # nobody has the terminal any more
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._far)


def _take_terminal() -> None:
    """What it is started on becomes its terminal, so that Ctrl-C reaches it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def typed_into(session: Session) -> Iterator[Session]:
    """The session, which ends with the test."""
    try:
        yield session
    finally:
        session.close()


@contextlib.contextmanager
def on_terminal(*words: object, columns: int = 80, lines: int = 24, output: Path | None = None, **environ: str
) -> Iterator[Session]:  # fmt: skip
    """A command on a terminal of this size."""
    words = (sys.executable, "-m", "tus", *words)
    with typed_into(Session([*map(str, words)], columns=columns, lines=lines, output=output, **environ)) as session:
        yield session
