"""One exported ONNX file in; probabilities of pictures and the evidence for them out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

from fakelens.core import imaging
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32
from fakelens.core.machine import available_cpus
from fakelens.core.scoring import OperatingPoint, Threshold, points_of

INPUT, OUTPUT, HEATMAP = "image", "probability", "heatmap"
_PREFIX = "fakelens."


@dataclass(frozen=True, eq=False)  # an opened detector is one, and equals no other
class OnnxMetadata:
    """Metadata of an exported file, which hold nothing but strings."""

    name: str
    """The detector's."""
    variant: str
    input_px: int
    stored_px: int
    threshold: Threshold
    operating_points: tuple[OperatingPoint, ...]
    temperature: float
    demo: bool
    licence: str

    def strings(self) -> dict[str, str]:
        """As they stand in the file."""
        plain = asdict(self)
        threshold, points = plain.pop("threshold"), json.dumps(plain["operating_points"])
        plain |= {f"threshold_{name}": value for name, value in threshold.items()}
        plain |= {"operating_points": points, "demo": str(self.demo).lower()}
        return {f"{_PREFIX}{name}": str(value) for name, value in plain.items()}

    @classmethod
    def of(cls, strings: Mapping[str, str]) -> "OnnxMetadata":
        """Metadata out of a file's strings; a KeyError or ValueError where they do not fit."""
        plain = {name[len(_PREFIX) :]: text for name, text in strings.items() if name.startswith(_PREFIX)}
        input_px, stored_px = int(plain["input_px"]), int(plain["stored_px"])
        if not 0 < input_px <= stored_px:
            raise ValueError(f"input_px {input_px}, stored_px {stored_px}")
        return OnnxMetadata(
            plain["name"], plain["variant"], input_px, stored_px,
            Threshold(float(plain["threshold_real"]), float(plain["threshold_fake"])),
            points_of(json.loads(plain["operating_points"])), float(plain["temperature"]),
            {"true": True, "false": False}[plain["demo"]], plain["licence"],
        )  # fmt: skip


class OnnxDetector(OnnxMetadata):
    """One ONNX file that scores images; what it needs to know travels in the file's metadata."""

    def __init__(self, model: bytes | Path, *, num_threads: int | None = None) -> None:
        """Load a file that `fakelens export` wrote, or its bytes; by default one thread for each CPU that may be used.

        Raises:
            FakelensError: naming the remedy, when it is no such file.

        """
        label = "the model" if isinstance(model, bytes) else str(model)
        data = _model_bytes(model)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._session = _open_session(data, label, num_threads or available_cpus())
        try:
            super().__init__(**vars(OnnxMetadata.of(self._session.get_modelmeta().custom_metadata_map)))
            sides_px = [side for side in self._session.get_inputs()[0].shape[2:] if isinstance(side, int)]
            if any(side != self.input_px for side in sides_px):
                raise ValueError(f"input_px {self.input_px}, where the network takes {sides_px}")
        except (KeyError, ValueError) as error:
            raise FakelensError(
                f"{label} is not of this version of `fakelens export` (metadata: {error}): export it again"
            ) from error

    def score(self, images_nchw: ImageF32) -> ImageF32:
        """(N, 3, input_px, input_px) float32 RGB in [0, 1] to (N,) probabilities that the image is fake."""
        # Outputs are asked for by name: a file may have more of them.
        (probability,) = self._session.run([OUTPUT], {INPUT: images_nchw})
        return np.asarray(probability, dtype=np.float32)

    def examine(self, picture: Image.Image) -> tuple[float, npt.NDArray[np.float32]]:
        """Probability that a decoded picture is AI-generated, and where the evidence lies.

        The evidence is (h, w) calibrated logits over the model's square, positive for AI-generated; `heatmap_box` says
        where that square lies.
        """
        image_nchw = imaging.to_model_input(imaging.to_square(picture)[None], self.input_px)
        probability, heatmap = self._session.run([OUTPUT, HEATMAP], {INPUT: image_nchw})
        return float(probability[0]), np.asarray(heatmap[0], dtype=np.float32)

    def heatmap_box(self, picture: Image.Image) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the model's square in pixels of the decoded picture."""
        side = min(picture.size)
        margin = side * (self.stored_px - self.input_px) // (2 * self.stored_px)
        left, top = ((length - side) // 2 + margin for length in picture.size)
        length = side * self.input_px // self.stored_px
        return left, top, left + length, top + length


def _model_bytes(model: bytes | Path) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        return model.read_bytes()
    except OSError as error:
        raise FakelensError(f"the model {model} cannot be read ({error.strerror}): export it first") from error


def _open_session(data: bytes, label: str, num_threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # The arena and the memory pattern hold on to memory for a speed that one picture at a time cannot use.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen unrelated exception types for a bad file
        raise FakelensError(f"onnxruntime cannot load {label} ({error}): export it again") from error
    inputs = {value.name for value in session.get_inputs()}
    outputs = {value.name for value in session.get_outputs()}
    if inputs != {INPUT} or OUTPUT not in outputs:
        raise FakelensError(
            f"{label} is not a fakelens detector: it maps {sorted(inputs)} to {sorted(outputs)} instead of "
            f"{INPUT!r} to {OUTPUT!r}; use a file that `fakelens export` wrote"
        )
    if HEATMAP not in outputs:
        raise FakelensError(
            f"{label} is not of this version of `fakelens export` (it has no output {HEATMAP!r}): export it again"
        )
    return session
