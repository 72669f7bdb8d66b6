"""`python -m tus` is the command `tus`."""

from .cli import main

raise SystemExit(main())
