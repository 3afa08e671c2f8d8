"""What a file's container gives away: all, nothing, or something that cannot be told."""

from typing import Any

import numpy as np
import pytest

from fakelens.dataset.audit import audit_container, container_features

NUM = 400


def columns(*, num_real: int = 6, num_fake: int = 6, **changes: Any) -> dict[str, list[Any]]:
    """A manifest without any leak; `num_*` sources of each label."""
    rng = np.random.default_rng(7)
    labels = np.tile([0, 1], NUM // 2)
    return {
        "format": rng.choice(["JPEG", "PNG", "WEBP"], NUM).tolist(),
        "width_px": rng.integers(300, 1200, NUM).tolist(),
        "height_px": rng.integers(300, 1200, NUM).tolist(),
        "num_bytes": rng.integers(20_000, 200_000, NUM).tolist(),
        "label": labels.tolist(),
        "generator": [f"{n}-{(i // 2) % (num_fake if n else num_real)}" for i, n in enumerate(labels)],
    } | changes


def told_by_format() -> list[str]:
    return ["PNG" if i % 2 else "JPEG" for i in range(NUM)]


def told_by_size() -> list[int]:
    return [1024 if i % 2 else 1000 for i in range(NUM)]


@pytest.mark.parametrize("leak", [{"format": told_by_format()}, {"width_px": told_by_size()}])
def test_a_leak_is_found(leak: dict[str, Any]) -> None:
    audit = audit_container(columns(**leak))
    assert audit.random_split > 0.99
    assert audit.grouped_by_source is not None
    assert audit.grouped_by_source > 0.99


def test_bytes_per_pixel_leak_is_found() -> None:
    made = columns()
    sides = zip(made["width_px"], made["height_px"], made["label"], strict=True)
    made["num_bytes"] = [width * height // (4 if label else 3) for width, height, label in sides]
    assert audit_container(made).random_split > 0.99


def test_no_leak_is_chance() -> None:
    audit = audit_container(columns())
    assert audit.random_split == pytest.approx(0.5, abs=0.08)
    assert audit.grouped_by_source == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(("num_real", "num_fake"), [(1, 6), (6, 1), (1, 1)])
def test_a_single_source_cannot_be_held_out(num_real: int, num_fake: int) -> None:
    audit = audit_container(columns(num_real=num_real, num_fake=num_fake, format=told_by_format()))
    assert audit.grouped_by_source is None
    assert "has not seen" not in audit.sentence


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("num_real", "num_fake"), [(2, 2), (2, 12)])
def test_few_sources_leave_both_labels_to_learn_from(num_real: int, num_fake: int, seed: int) -> None:
    audit = audit_container(columns(num_real=num_real, num_fake=num_fake, format=told_by_format()), seed)
    assert audit.grouped_by_source == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_name_that_both_labels_use_is_two_sources(seed: int) -> None:
    made = columns(num_real=2, num_fake=2, format=told_by_format())
    made["generator"] = ["unknown" if name.endswith("-0") else name for name in made["generator"]]
    assert audit_container(made, seed).grouped_by_source == 1


def test_what_is_peculiar_to_a_source_does_not_carry_over() -> None:
    made = columns(num_real=4, num_fake=4)
    # Each source has a width of its own, interleaved so that no cut separates the labels.
    made["width_px"] = [500 + 20 * int(name[2:]) + 10 * int(name[0]) for name in made["generator"]]
    audit = audit_container(made)
    assert audit.random_split > 0.8
    assert audit.grouped_by_source is not None
    assert audit.grouped_by_source < 0.6


def test_seed_decides_the_folds() -> None:
    assert audit_container(columns(), 1) == audit_container(columns(), 1)
    assert audit_container(columns(), 1) != audit_container(columns(), 2)


def test_sentence_gives_the_figures() -> None:
    audit = audit_container(columns(format=told_by_format()))
    assert "1.00 balanced accuracy (0.50 is chance; 1.00 on sources it has not seen; n=400)" in audit.sentence


def test_features_by_hand() -> None:
    made = {"format": ["PNG", "JPEG"], "width_px": [200, 300], "height_px": [100, 600], "num_bytes": [5000, 90_000]}
    assert container_features(made).tolist() == [
        [0, 1, 200, 100, 100, 2, 0.25],
        [1, 0, 300, 600, 300, 0.5, 0.5],
    ]
