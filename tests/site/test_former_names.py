"""Names that inis may hold from before."""

from __future__ import annotations

from tus.site.arrivals import Gate
from tus.tus import hooks_of


def test_the_gallerys_hook_has_its_former_name_too() -> None:
    """`hooks = tus.demo.arrivals:Gate` stood in the documentation."""
    assert hooks_of("tus.demo.arrivals:Gate").__class__ is Gate
