"""Recall per generator and specificity per source, the worst first."""

import numpy as np
import pytest

from fakelens.evaluation.metrics import by_group


def test_groups_by_label_and_name() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1])
    names = ["web", "web", "flux", "flux", "dalle", "web"]
    found = by_group(labels, names, np.array([0.2, 0.7, 0.9, 0.8, 0.1, 0.6]))
    assert [(g.label, g.name, g.num_images, g.share_right) for g in found] == [
        (0, "web", 2, 0.5),
        (1, "dalle", 1, 0.0),
        (1, "flux", 2, 1.0),
        (1, "web", 1, 1.0),
    ]
    assert found[0].mean_probability == pytest.approx(0.45)
    assert all(low <= g.share_right <= high for g in found for low, high in [g.interval])
