"""What a user can mend: errors whose text names the remedy; the command line prints them as one line, without a trace.

Everything else that is raised is a bug and keeps its trace.
"""

from pathlib import Path


class FakelensError(ValueError):
    """The base of fakelens' own errors. A ValueError, so that library users may catch it as one."""


class DamagedFileError(FakelensError):
    """A file is not what its stage wrote, or cannot be read."""

    def __init__(self, path: Path, fault: str, remedy: str) -> None:
        super().__init__(f"{path} {fault}: {remedy}")
        self.path = path


class OtherDataError(FakelensError):
    """A later stage was asked to use a detector on data that it was not trained on."""


class FolderInUseError(FakelensError):
    """Another process works in the folder."""
