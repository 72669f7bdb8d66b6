"""Makes every Python that has this directory on its path poorer, by what macOS lacks."""

import os

for name in ("fdatasync", "copy_file_range", "splice", "posix_fallocate", "posix_fadvise", "preadv", "pwritev"):
    if hasattr(os, name):
        delattr(os, name)
