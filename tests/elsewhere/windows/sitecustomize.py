"""Makes every Python that has this directory on its path poorer, by what Windows lacks."""

import os
import sys

for module in ("fcntl", "termios", "pwd", "grp", "resource"):
    sys.modules[module] = None  # type: ignore[assignment]
for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "O_NONBLOCK", "getuid", "fdatasync", "splice",
             "copy_file_range", "register_at_fork", "fork", "pread", "pwrite"):  # fmt: skip
    if hasattr(os, name):
        delattr(os, name)
