"""Where images come from. Only these modules download."""

from fakelens.settings import SourceSettings
from fakelens.sources.base import Source


def open_source(settings: SourceSettings) -> Source:
    """The source that `settings.source` names."""
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
