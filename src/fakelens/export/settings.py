"""How ONNX files are made and what they may lose: a part of the recipe."""

from pydantic import Field

from fakelens.core.config import Settings
from fakelens.export.parity import GateSettings


class ExportSettings(Settings):
    """How ONNX files are made and what they may lose."""

    calibration_images: int = Field(256, ge=2)
    """Training pictures on which static quantisation measures its ranges."""
    search_seconds: float = Field(240, ge=0)
    """After this time no further way of static quantisation is tried."""
    gate: GateSettings = GateSettings()
    """The limits of what a file may lose; a file beyond them does not ship."""
