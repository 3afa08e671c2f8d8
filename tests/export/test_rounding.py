import numpy as np

from fakelens.export.rounding import round_rows


def moments(columns: np.ndarray) -> np.ndarray:
    return columns @ columns.T / columns.shape[1]


def test_correlated_inputs_are_rounded_for() -> None:
    rng = np.random.default_rng(0)
    # Nine neighbouring pixels: nearly the same brightness, all positive.
    columns = rng.random((1, 4000)) + 0.05 * rng.random((9, 4000))
    rows = rng.normal(size=(32, 9))
    steps = np.abs(rows).max(1) / 63
    grid = round_rows(rows, steps, moments(columns), 63)
    nearest = np.round(rows / steps[:, None]) * steps[:, None]
    error, plain = (float(np.mean(((found - rows) @ columns) ** 2)) for found in (grid, nearest))
    assert error < plain / 5
    numbers = grid / steps[:, None]
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-9)
    assert np.abs(numbers).max() <= 63 + 1e-9


def test_inputs_that_are_never_there_do_no_harm() -> None:
    rows = np.array([[1.0, -0.5, 0.25]])
    steps = np.array([1 / 127])
    grid = round_rows(rows, steps, np.zeros((3, 3)), 127)
    np.testing.assert_allclose(grid, rows, atol=0.5 / 127)
