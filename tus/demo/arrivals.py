"""The former place of the gallery's hook."""

from ..site.arrivals import Gate

__all__ = ["Gate"]
