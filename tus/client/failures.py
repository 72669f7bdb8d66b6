"""Why an upload or a download did not work, as one class for each thing that a caller may do then."""

from __future__ import annotations


class TransferError(Exception):
    """It cannot be done; the message says why, and `url` is the upload's, if there is one already."""

    url: str | None = None
    offset: int = 0  # bytes that the server has


class TransferRefused(TransferError):
    """The server refuses it with this `status`: the same request will be refused again."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Unwanted(TransferError):
    """Everything arrived, and the host does not want it: asking again is useless, a new upload may help."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Unreachable(TransferError):
    """The server cannot be reached, or does not serve now, however often it was tried: later it may."""


class FileChanged(TransferError):
    """The file changed while it was sent: what arrived may be a mixture."""


class AlreadyThere(TransferError):
    """There is a file at the `path` where a download should go, and nobody said that it may be replaced."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is there already")
        self.path = path


class WrongDigest(TransferError):
    """What arrived is not what the server says that it has sent."""


class Stopped(TransferError):
    """Somebody stopped it; an upload of a file can be resumed."""


class TryAgain(Exception):
    """It did not work this time; `after` is how many seconds the server wants us to wait."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class UploadGone(Exception):
    """The server no longer knows the upload."""
