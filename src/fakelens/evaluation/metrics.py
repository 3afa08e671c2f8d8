"""Figures of a set of scores: labels and probabilities in, named numbers out. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError


@dataclass(frozen=True)
class Metrics:
    """Of the class "fake" at a probability of 0.5, except `auc`, which needs no threshold."""

    accuracy: float
    balanced_accuracy: float
    """Mean of the shares of photographs and of fakes that were judged rightly."""
    precision: float
    recall: float
    f1: float
    auc: float
    confusion_matrix: tuple[tuple[int, int], tuple[int, int]]
    """Rows truth, columns verdict, both in the order real, fake."""
    num_images: int


def compute_metrics(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> Metrics:
    """Metrics of (N,) labels (0 real, 1 fake) and (N,) probabilities of being fake; precision without a hit is 0.

    Raises:
        ValueError: when one label is missing, because then AUC means nothing.
    """
    from sklearn import metrics

    if set(np.unique(labels)) != {0, 1}:
        raise FakelensError("metrics need photographs and fakes: one of the two is missing")
    said_fake = (probabilities >= 0.5).astype(int)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, said_fake, average="binary", zero_division=0
    )
    matrix = metrics.confusion_matrix(labels, said_fake, labels=[0, 1]).tolist()
    return Metrics(
        accuracy=float(np.mean(labels == said_fake)),
        balanced_accuracy=(matrix[0][0] / sum(matrix[0]) + matrix[1][1] / sum(matrix[1])) / 2,
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        auc=float(metrics.roc_auc_score(labels, probabilities)),
        confusion_matrix=((matrix[0][0], matrix[0][1]), (matrix[1][0], matrix[1][1])),
        num_images=len(labels),
    )
