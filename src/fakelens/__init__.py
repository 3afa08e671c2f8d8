"""fakelens: train, judge, export and deploy detectors of AI-generated images."""

from fakelens.core.telemetry import switch_off_telemetry

__version__ = "0.1.0"

# Here, because it has to come before the first import of onnxruntime, whichever module asks for it.
switch_off_telemetry()
