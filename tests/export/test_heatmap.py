"""The heatmap lies where the evidence lies: planted patches, held against hiding parts of the picture."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch import nn

from fakelens.detectors.network import LogitDetector
from fakelens.detectors.spec import BuildOptions
from fakelens.export.onnx import export_onnx

PX, CELL = 64, 16
Pictures = npt.NDArray[np.float32]


def planted(num_images: int, seed: int) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """Smooth pictures (N, 3, PX, PX), each with a checkerboard of CELL pixels at the cell (N, 2) that comes back."""
    rng = np.random.default_rng(seed)
    pictures = np.repeat(np.repeat(rng.uniform(0.3, 0.7, (num_images, 3, 4, 4)), CELL, 2), CELL, 3)
    cells = rng.integers(0, PX // CELL, (num_images, 2))
    board = 0.25 * (-1.0) ** np.add.outer(np.arange(CELL), np.arange(CELL))
    for picture, (row, column) in zip(pictures, cells * CELL, strict=True):
        picture[:, row : row + CELL, column : column + CELL] += board
    return pictures.astype(np.float32), cells


def by_hiding(session: ort.InferenceSession, picture: Pictures) -> Pictures:
    """How much the logit falls when a cell is replaced by its average: (PX / CELL, PX / CELL)."""
    count = PX // CELL
    hidden = np.repeat(picture[None], count * count + 1, 0)
    for number in range(count * count):
        row, column = (CELL * place for place in divmod(number, count))
        part = hidden[number, :, row : row + CELL, column : column + CELL]
        part[:] = part.mean((1, 2), keepdims=True)
    (probability,) = session.run(["probability"], {"image": hidden})
    logits = np.log(probability / (1 - probability))
    return np.asarray((logits[-1] - logits[:-1]).reshape(count, count), dtype=np.float32)


def cells_of(heatmap: Pictures) -> Pictures:
    """A heatmap (h, w) as the mean of each cell."""
    count = PX // CELL
    return heatmap.reshape(count, heatmap.shape[0] // count, count, -1).mean((1, 3))


def agreement(path: Path, seed: int) -> tuple[float, float]:
    """Share of pictures whose heatmap is highest on the patch; mean correlation with what hiding says."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    pictures, cells = planted(24, seed)
    (heatmaps,) = session.run(["heatmap"], {"image": pictures})
    hits, correlations = [], []
    for picture, cell, heatmap in zip(pictures, cells, heatmaps, strict=True):
        found = cells_of(heatmap)
        hits.append(np.unravel_index(found.argmax(), found.shape) == tuple(cell))
        correlations.append(np.corrcoef(found.flatten(), by_hiding(session, picture).flatten())[0, 1])
    return float(np.mean(hits)), float(np.mean(correlations))


class Contrast(nn.Module):
    """A body of one feature, the contrast between neighbours in each 8 px, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.classifier = nn.AvgPool2d(8), nn.Linear(1, 1)
        nn.init.constant_(self.classifier.weight, 20.0)
        nn.init.constant_(self.classifier.bias, -1.0)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        grey = images.mean(1, keepdim=True)
        steps = nn.functional.pad((grey[..., 1:] - grey[..., :-1]).abs(), (0, 1))
        return self.pool(steps)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images).mean((2, 3)))
        return logits


def test_a_network_whose_evidence_is_known(tmp_path: Path) -> None:
    options = BuildOptions(False, (0.0,) * 3, (1.0,) * 3, 0.0)  # type: ignore[arg-type]
    detector = LogitDetector(
        Contrast(), options, features=lambda net, images: net.features(images), head=lambda net: net.classifier
    )
    export_onnx(tmp_path / "net.onnx", detector.eval(), PX, temperature=0.5)
    hits, correlation = agreement(tmp_path / "net.onnx", seed=1)
    assert hits == 1
    assert correlation > 0.95
