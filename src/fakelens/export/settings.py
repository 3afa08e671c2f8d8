"""How ONNX files are made and what they may lose: a part of the recipe."""

from typing import Literal

from pydantic import Field

from fakelens.core.config import Settings
from fakelens.export.parity import GateSettings


class ExportSettings(Settings):
    """How ONNX files are made and what they may lose."""

    calibration_images: int = Field(256, ge=2)
    """Training pictures on which static quantisation measures its ranges."""
    calibration_method: Literal["MinMax", "Percentile", "Entropy"] = "MinMax"
    """How a range is taken from what was measured."""
    reduce_range: bool = True
    """7-bit weights: exact on CPUs without VNNI, where 8-bit products can saturate."""
    gate: GateSettings = GateSettings()
    """The limits of what a file may lose; a file beyond them does not ship."""
