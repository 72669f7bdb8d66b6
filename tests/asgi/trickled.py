"""`TusASGI` alone, on files."""

from __future__ import annotations

import os
from pathlib import Path

from tests.apps import HOME
from tus import TusASGI

application = TusASGI(tmp_file_dir=str(Path(os.environ[HOME]) / "up"), upload_path="/files", durable="none")
