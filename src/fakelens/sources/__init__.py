"""Where images come from. Only these modules open sockets."""

from fakelens.core.errors import FakelensError
from fakelens.settings import SourceSettings
from fakelens.sources.base import Source

SOURCES = ("openfake", "folder", "synthetic")


def open_source(settings: SourceSettings) -> Source:
    """The source that `settings.source` names.

    Raises:
        FakelensError: for an unknown name.
    """
    match settings.source:
        case "openfake":
            from fakelens.sources.openfake import OpenFakeSource

            return OpenFakeSource(settings)
        case "folder":
            from fakelens.sources.folder import FolderSource

            return FolderSource(settings)
        case "synthetic":
            from fakelens.sources.synthetic import SyntheticSource

            return SyntheticSource(settings)
    raise FakelensError(f"unknown source {settings.source!r}: data.source is one of {', '.join(SOURCES)}")
