"""What a file's container and prepared pixels give away: all, nothing, or something that cannot be told."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakelens.core.imaging import ImageU8, decode, to_square
from fakelens.dataset import audit
from fakelens.dataset.audit import WARN_ABOVE, Audit, audit_container, audit_pixels, container_features, pixel_features

NUM = 400
SIDE_PX = 64


def columns(*, num_real: int = 6, num_fake: int = 6, **changes: Any) -> dict[str, list[Any]]:
    """A manifest without any leak; `num_*` sources of each label."""
    rng = np.random.default_rng(7)
    labels = np.tile([0, 1], NUM // 2)
    return {
        "format": rng.choice(["JPEG", "PNG", "WEBP"], NUM).tolist(),
        "width_px": rng.integers(300, 1200, NUM).tolist(),
        "height_px": rng.integers(300, 1200, NUM).tolist(),
        "num_bytes": rng.integers(20_000, 200_000, NUM).tolist(),
        "luma_quantisation": rng.uniform(1, 30, NUM).tolist(),
        "chroma_quantisation": rng.uniform(1, 30, NUM).tolist(),
        "label": labels.tolist(),
        "generator": [f"{n}-{(i // 2) % (num_fake if n else num_real)}" for i, n in enumerate(labels)],
    } | changes


def told_by_format() -> list[str]:
    return ["PNG" if i % 2 else "JPEG" for i in range(NUM)]


def told_by_size() -> list[int]:
    return [1024 if i % 2 else 1000 for i in range(NUM)]


def told_by_quality() -> list[float]:
    return [8.0 if i % 2 else 8.5 for i in range(NUM)]


@pytest.mark.parametrize(
    "leak",
    [
        {"format": told_by_format()},
        {"width_px": told_by_size()},
        {"luma_quantisation": told_by_quality()},
        {"chroma_quantisation": told_by_quality()},
    ],
)
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
    made = {
        "format": ["PNG", "JPEG"], "width_px": [200, 300], "height_px": [100, 600], "num_bytes": [5000, 90_000],
        "luma_quantisation": [0.0, 8.5], "chroma_quantisation": [0.0, 12.0],
    }  # fmt: skip
    assert container_features(made).tolist() == [
        [0, 1, 200, 100, 100, 2, 0.25, 0, 0],
        [1, 0, 300, 600, 300, 0.5, 0.5, 8.5, 12],
    ]


def texture(seed: int, side_px: int = SIDE_PX) -> Image.Image:
    """Coloured noise, more of it the coarser, how much differs by picture as among photographs."""
    rng = np.random.default_rng(seed)
    total = np.full((side_px, side_px, 3), 128.0)
    for factor, most in ((1, 6), (2, 12), (4, 25), (8, 60)):
        side = side_px // factor
        # Luma mostly: the channels share two thirds of the noise.
        noise = rng.normal(size=(side, side, 1)) + rng.normal(size=(side, side, 3)) / 2
        layer = Image.fromarray(np.clip(noise * 40 + 128, 0, 255).astype(np.uint8))
        grown = np.asarray(layer.resize((side_px, side_px), Image.Resampling.BICUBIC), float)
        total += (grown - 128) / 40 * most * rng.uniform(0.05, 1)
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


@cache
def file(seed: int, file_format: str) -> bytes:
    """A picture a little larger than what is stored."""
    buffer = io.BytesIO()
    texture(seed, SIDE_PX * 9 // 8).save(buffer, file_format, quality=95)
    return buffer.getvalue()


def prepared(formats: list[str], *, harmonised: bool) -> ImageU8:
    pictures = [decode(file(seed, name), short_side_px=SIDE_PX)[0] for seed, name in enumerate(formats)]
    return np.stack([to_square(image) if harmonised else np.asarray(image) for image in pictures])


def pixel_columns(formats: list[str]) -> dict[str, Any]:
    made = columns()
    return {"label": made["label"], "generator": made["generator"], "format": formats}


# Half of the files of each label, and of each source.
MIXED = ["PNG" if (i // 2 + i // 12) % 2 else "JPEG" for i in range(NUM)]


class TestPixels:
    def test_no_leak_is_chance(self) -> None:
        label, original_format = audit_pixels(prepared(["PNG"] * NUM, harmonised=False), pixel_columns(["PNG"] * NUM))
        assert label.random_split == pytest.approx(0.5, abs=0.08)
        assert label.grouped_by_source == pytest.approx(0.5, abs=0.08)
        assert label.num_images == NUM
        assert label.warning is None
        assert original_format is None

    def test_a_leak_is_found_and_the_remedy_named(self) -> None:
        squares = prepared(["PNG"] * NUM, harmonised=False)
        squares[1::2] = [
            np.asarray(Image.fromarray(square).resize((48, 48)).resize((64, 64))) for square in squares[1::2]
        ]
        label, _ = audit_pixels(squares, pixel_columns(["PNG"] * NUM))
        assert label.random_split > 0.95
        assert label.grouped_by_source is not None
        assert label.grouped_by_source > 0.95
        assert label.warning is not None
        assert label.warning.startswith(label.sentence)
        assert "choose photographs and fakes" in label.warning

    def test_the_format_is_read_within_one_label_until_it_is_harmonised(self) -> None:
        found = {}
        for harmonised in (False, True):
            _, original_format = audit_pixels(prepared(MIXED, harmonised=harmonised), pixel_columns(MIXED))
            assert original_format is not None
            assert original_format.num_images == NUM // 2
            found[harmonised] = original_format
        assert found[False].random_split > 0.9
        assert found[False].warning is not None
        assert found[True].random_split < 0.7

    def test_the_format_within_sources_of_one_format_cannot_be_told(self) -> None:
        formats = ["PNG" if name in ("0-1", "1-1", "0-2", "1-2") else "JPEG" for name in columns()["generator"]]
        squares = np.zeros((NUM, SIDE_PX, SIDE_PX, 3), np.uint8)
        label, original_format = audit_pixels(squares, pixel_columns(formats))
        assert original_format is None
        assert label.random_split == 0.5

    def test_a_sample_of_a_memory_map_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit, "MAX_SQUARES", 150)
        squares = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
        np.save(tmp_path / "squares.npy", squares)
        made = {name: values[:200] for name, values in pixel_columns(["JPEG"] * NUM).items()}
        mapped = np.load(tmp_path / "squares.npy", mmap_mode="r")
        label, _ = audit_pixels(mapped, made, 3)
        assert label.num_images == 150
        assert label == audit_pixels(squares, made, 3)[0]
        assert label != audit_pixels(squares, made, 4)[0]


class TestPixelFeatures:
    @pytest.mark.parametrize("side_px", [16, 33, 64])
    @pytest.mark.parametrize("level", [0, 128, 255])
    def test_are_finite_even_where_nothing_is_seen(self, side_px: int, level: int) -> None:
        features = pixel_features(np.full((side_px, side_px, 3), level, np.uint8))
        assert features.shape == (21,)
        assert np.isfinite(features).all()

    def test_a_block_grid_is_seen(self) -> None:
        buffer = io.BytesIO()
        texture(0, 256).save(buffer, "JPEG", quality=20)
        blocky = np.asarray(Image.open(buffer))
        assert pixel_features(blocky)[3] > pixel_features(np.asarray(texture(0, 256)))[3] + 0.1

    def test_a_stretched_grid_is_seen_at_its_frequency(self) -> None:
        blocks = np.kron(np.random.default_rng(0).integers(90, 166, (36, 36)), np.ones((8, 8))).astype(np.uint8)
        stretched = Image.fromarray(blocks).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
        strength, cycles_per_pixel = pixel_features(np.asarray(stretched))[4:6]
        assert strength > 3
        harmonic = cycles_per_pixel / (36 / 256)
        assert harmonic == pytest.approx(round(harmonic), abs=0.1)

    def test_harmonising_makes_formats_alike(self) -> None:
        plain, jpeg = (decode(file(1, name), short_side_px=SIDE_PX)[0] for name in ("PNG", "JPEG"))
        before = np.abs(pixel_features(np.asarray(plain)) - pixel_features(np.asarray(jpeg)))
        after = np.abs(pixel_features(to_square(plain)) - pixel_features(to_square(jpeg)))
        assert after.sum() < before.sum()


def test_only_what_is_left_after_preparation_warns() -> None:
    for evidence in ("container", "pixels", "format"):
        high, limit = (Audit(evidence, figure, None, 400) for figure in (0.99, WARN_ABOVE))
        assert (high.warning is None) == (evidence == "container")
        assert limit.warning is None
