"""Errors that a user can mend: the text names the remedy, and the command line prints it as one line without a trace.

Everything else that is raised is a bug and keeps its trace.
"""

import errno
from pathlib import Path


class FakelensError(ValueError):
    """The base of fakelens' own errors. A ValueError, so that library users may catch it as one."""


class DamagedFileError(FakelensError):
    """A file is not what its stage wrote, or cannot be read."""

    def __init__(self, path: Path, fault: str, remedy: str) -> None:
        super().__init__(path, fault, remedy)  # what pickle makes it anew from

    def __str__(self) -> str:
        path, fault, remedy = self.args
        return f"{path} {fault}: {remedy}"


class OtherDataError(FakelensError):
    """A later stage was asked to use a detector on data that it was not trained on."""


class FolderInUseError(FakelensError):
    """Another process works in the folder."""


_OS_REMEDIES = {
    errno.ENOSPC: "make room, then run the same command again",
    errno.EDQUOT: "make room, then run the same command again",
    errno.EFBIG: "choose a place, or raise the limit (`ulimit -f`), that takes a file of this size",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose another place, or change its permissions",
    errno.EPERM: "choose another place, or change its permissions",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a file is where a folder should be: check the path",
    errno.EISDIR: "a folder is where a file should be: check the path",
    errno.EEXIST: "choose another name, or remove what is there",
    errno.ENOTEMPTY: "choose another name, or remove what is there",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "the links lead in a circle: check the path",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENOLCK: "the folder's file system has no locks: choose another one with --workdir",
    errno.EIO: "the disk or its connection failed: check it, then run the same command again",
    errno.ESTALE: "the disk or its connection failed: check it, then run the same command again",
}


def in_one_line(error: OSError | MemoryError) -> str | None:
    """An error of the system in a line for a user: what failed, where, and the remedy; None for a bug."""
    if isinstance(error, MemoryError):
        return (
            "out of memory: end other programs, or use smaller settings (batch_size, data.num_workers, "
            "data.blocks_in_flight)"
        )
    remedy = _OS_REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{(error.strerror or str(error)).lower()}: {remedy}"
