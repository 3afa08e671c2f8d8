"""Every setting of a recipe, documented by the sentence beneath it."""

import re
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from fakelens.config import Settings
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import INPUT_PX, STORED_PX


class SourceSettings(Settings):
    """Which images, from where. NSFW content is not judged: what the data set holds may be drawn."""

    source: Literal["openfake", "folder", "synthetic"] = "openfake"
    """openfake (the Hugging Face hub), folder (your own pictures) or synthetic (made here, for demonstrations)."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides the choice of images, the split and every random number after it."""
    repository: str = "ComplexDataLab/OpenFake"
    """Data set on the Hugging Face hub (openfake)."""
    revision: str = "3247b942f18d39d1fd476b1077852af033d35d8c"
    """Commit, tag or branch of the data set (openfake); a commit keeps runs repeatable."""
    config: str = "core"
    """Configuration of the data set (openfake)."""
    split: str = "train"
    """Split of the data set that the images are drawn from (openfake)."""
    num_shards: int = Field(8, ge=1)
    """Parquet files, chosen by the seed, whose label columns are read to choose images from (openfake)."""
    label_values: dict[str, Literal["real", "fake"]] = Field(default_factory=dict)
    """What labels of other names mean, as in {0: real, 1: fake}: values of the column `label` (openfake), folders
    (folder)."""
    path: str | None = None
    """Folder with `real/` and `fake/` in it, or folders whose names say the same: `nature` and `ai` (folder)."""
    synthetic_px: int = Field(288, ge=64, le=1024)
    """Side of the generated pictures in pixels (synthetic)."""

    @field_validator("repository")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or Path(name).is_dir():
            raise ValueError(
                f"must be OWNER/NAME, such as ComplexDataLab/OpenFake, not {name!r} (HF_ENDPOINT names another hub; a "
                "folder of pictures is data.source=folder and data.path=FOLDER)"
            )
        return name

    @field_validator("label_values", mode="before")
    @classmethod
    def _values_are_words(cls, values: object) -> object:
        return {str(value): label for value, label in values.items()} if isinstance(values, dict) else values


class CollectSettings(SourceSettings):
    """Which images of a source, how they are stored, and who does the work."""

    of_execution: ClassVar[frozenset[str]] = frozenset({"engine", "num_workers", "blocks_in_flight"})

    include_generators: tuple[str, ...] = ()
    """Generators to draw fakes from, and no others; empty for all."""
    exclude_generators: tuple[str, ...] = ("tiny-random-sana",)
    """Generators (or photographs' origins) never to draw from; tiny-random-sana is pure noise."""
    cap_per_generator: int | None = Field(None, ge=1)
    """Most images of one generator in all; by default 1.5 times an equal share, so that few row groups are read."""
    min_side_px: int = Field(224, ge=1)
    """Images with a smaller short side are refused: enlarging them leaves traces."""
    stored_px: int = Field(STORED_PX, ge=32, le=1024)
    """Short side and crop of the stored squares; training takes random crops of the input size out of them."""
    keep_reconstructions: bool = False
    """Keep a photograph and a fake that hardly differ, both in one split: for fakes that were made from photographs. By
    default neither label is believed and both are left out, as files of the same bytes always are."""
    engine: Literal["local", "ray"] = "local"
    """Who reads and decodes: processes of this machine, or a Ray cluster (pip install 'fakelens[cluster]')."""
    num_workers: int | None = Field(None, ge=0)
    """Processes that decode; by default one per core, 0 for none beside the main one."""
    blocks_in_flight: int = Field(4, ge=1, le=64)
    """Row groups downloaded at a time, and as many that wait on disk to be decoded: bounds memory and disk."""


class DataSettings(CollectSettings):
    """Which images, how many, and how they are stored."""

    num_images: int = Field(12_000, ge=14)
    """Images in all, half of them fake; split 70/15/15 into train, val and test."""
    num_ood_images: int = Field(1000, ge=0)
    """At most this many in the further test set `ood`: generators that training has not seen; 0 for none."""
    num_wild_images: int = Field(1000, ge=0)
    """At most this many in the further test set `wild`: pictures collected from the web; 0 for none (openfake)."""
    held_out_generators: tuple[str, ...] = ()
    """Generators kept out of training and its splits: `ood` is then made of these, not of the data set's own test."""

    @model_validator(mode="after")
    def _generators_are_consistent(self) -> Self:
        for name in ("held_out_generators", "include_generators"):
            if both := set(getattr(self, name)) & set(self.exclude_generators):
                raise FakelensError(f"{', '.join(sorted(both))}: stands in both {name} and exclude_generators")
        return self


class AugmentationSettings(Settings):
    """Variation of training images; the same for photographs and fakes."""

    crop_scale: float = Field(0.6, gt=0, le=1)
    """Smallest side of the random crop as a fraction of the stored square; larger crops are shrunk, smaller enlarged.
    1 takes crops of the input size, without resampling."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a left-right flip."""
    colour: float = Field(0.3, ge=0, le=1)
    """Probability that brightness, contrast and saturation change, each by a factor of its own."""
    colour_strength: float = Field(0.2, ge=0, lt=1)
    """Largest change of such a factor from 1."""
    blur: float = Field(0.1, ge=0, le=1)
    """Probability of a Gaussian blur."""
    blur_sigma_px: tuple[float, float] = (0.3, 1.5)
    """Smallest and largest standard deviation of the blur in pixels."""
    jpeg: float = Field(0.45, ge=0, le=1)
    """Probability of a JPEG recompression."""
    webp: float = Field(0.2, ge=0, le=1)
    """Probability of a WebP recompression instead."""
    avif: float = Field(0.1, ge=0, le=1)
    """Probability of an AVIF recompression instead."""
    resize_jpeg: float = Field(0.1, ge=0, le=1)
    """Probability of being shrunk, JPEG-compressed and enlarged again instead; what is left of 1 is not compressed."""
    resize_scale: tuple[float, float] = (0.5, 0.95)
    """Strongest and mildest shrinking before that JPEG compression."""
    repeat: float = Field(0.3, ge=0, le=1)
    """Probability that a compressed image is compressed a second time, by a way drawn anew."""
    quality: tuple[int, int] = (55, 95)
    """Lowest and highest quality of every codec, 1 to 100."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        total = self.jpeg + self.webp + self.avif + self.resize_jpeg
        if total > 1 + 1e-9:
            raise ValueError(f"jpeg, webp, avif and resize_jpeg exclude each other: together {total:g} is more than 1")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError(f"quality must be (lowest, highest) within 1 to 100, not {self.quality}")
        if not 0 < self.resize_scale[0] <= self.resize_scale[1] <= 1:
            raise ValueError(f"resize_scale must be (strongest, mildest) within 0 to 1, not {self.resize_scale}")
        if not 0 <= self.blur_sigma_px[0] <= self.blur_sigma_px[1]:
            raise ValueError(f"blur_sigma_px must be (smallest, largest), not {self.blur_sigma_px}")
        return self


class DetectorSettings(Settings):
    """Training of one detector; each detector file states its own defaults."""

    pretrained: bool = True
    """Start from the published weights; false trains from scratch. Ignored by a detector that has none."""
    input_px: int = Field(INPUT_PX, ge=32, le=1024)
    """Side of the square input in pixels."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per-channel mean that the first layer subtracts, in [0, 1] units."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per-channel standard deviation that the first layer divides by, in [0, 1] units."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam, or Adam with decoupled weight decay."""
    learning_rate: float = Field(5e-4, gt=0)
    """Peak learning rate when the whole network trains."""
    head_learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of phase 1, when only the head trains."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay (AdamW) or L2 (Adam)."""
    scheduler: Literal["cosine", "constant"] = "cosine"
    """Cosine decay to 1 % of the peak over each phase, or no decay."""
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    """Fraction of the all-layers phase in which the learning rate rises linearly."""
    batch_size: int = Field(64, ge=1)
    """Images per optimiser step and process."""
    head_epochs: int = Field(5, ge=0)
    """Epochs of phase 1 (head only, backbone frozen); 0 skips it."""
    epochs: int = Field(12, ge=1)
    """Epochs of phase 2 (all layers), at most: early stopping may end it."""
    min_epochs: int = Field(1, ge=1)
    """Epochs of phase 2 before which early stopping does not end it."""
    patience: int = Field(5, ge=1)
    """Early stopping: epochs of phase 2 without a lower validation loss."""
    label_smoothing: float = Field(0.1, ge=0, lt=0.5)
    """Targets become ls/2 and 1 − ls/2 in the training loss; the validation loss is never smoothed."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout before the last layer."""
    gradient_clip: float = Field(1.0, ge=0)
    """Largest norm of a step's gradient; 0 for no limit."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Share of the running average of the weights that a step keeps; what is validated and saved is the average.
    0 takes the weights of the last step."""
    teacher: str | None = None
    """Detector of the same working folder, trained before, or path of a checkpoint, whose probabilities are learnt."""
    teacher_weight: float = Field(0.5, ge=0, le=1)
    """Share of the teacher's probability in the target, the rest being the label."""
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    """`auto` is fp16 mixed precision on CUDA and fp32 elsewhere."""


class TrainSettings(Settings):
    """Training in general, whatever the detector; the first four stand over every detector's own settings."""

    of_execution: ClassVar[frozenset[str]] = frozenset(
        {"num_workers", "num_threads", "accelerator", "devices", "num_nodes", "logger"}
    )
    seed: int | None = Field(None, ge=0, lt=2**32)
    """Of initial weights, order, augmentation and dropout; null takes data.seed. Another one is another training."""
    max_epochs: int | None = Field(None, ge=1)
    """Most epochs of a detector over both phases."""
    pretrained: bool = True
    """False trains every detector from scratch."""
    input_px: int | None = Field(None, ge=32, le=1024)
    """Input side of every detector in pixels; null keeps each detector's own."""
    tiny: bool = False
    """Build the detectors' tiny versions: the same code path, for tests."""
    limit_batches: int | None = Field(None, ge=1)
    """Most batches of an epoch, for a try; null takes all."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients make one optimiser step: larger batches than memory holds."""
    compile: bool = False
    """Compile the networks with torch.compile: minutes at the start, faster steps afterwards, last digits differ."""
    logger: Literal["csv", "tensorboard", "wandb", "mlflow"] | None = None
    """Also follow training with this logger of Lightning's (tensorboard, wandb and mlflow are extra packages)."""
    num_workers: int | None = Field(None, ge=0)
    """Processes that load and augment images; null is 0 on a CPU (which trains meanwhile); beside GPUs, as
    many as there are CPUs for each."""
    num_threads: int | None = Field(None, ge=1)
    """CPU threads of torch; null leaves torch's choice. Another number changes results in the last digits."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, mps."""
    devices: int | None = Field(None, ge=1)
    """Devices (processes) a machine; null is one on a CPU, all that there are otherwise."""
    num_nodes: int = Field(1, ge=1)
    """Machines; start one process each through torchrun."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """How training images are varied."""


class EvaluationSettings(Settings):
    """From scores to verdicts, and the effort with which these are judged."""

    uncertain_band: float = Field(0.1, ge=0, lt=0.5)
    """Probabilities closer to 0.5 than this are called uncertain; the risk-coverage plot shows what a width costs."""
    false_positive_rates: tuple[float, ...] = (0.01, 0.05)
    """Shares of validation photographs called fake for which a threshold is kept beside the one at 0.5."""
    verdicts_at: float | None = None
    """Which of those rates decides the verdicts of `predict` and the app; null is the threshold at 0.5."""
    num_resamples: int = Field(1000, ge=100, le=100_000)
    """Bootstrap resamples behind every 95 % interval."""
    robustness_images: int = Field(300, ge=0)
    """Test pictures, half of them fake, that the robustness sweep degrades; 0 leaves the sweep out."""

    @field_validator("false_positive_rates")
    @classmethod
    def _rates_make_sense(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < rate < 1 for rate in rates) or len(set(rates)) < len(rates):
            raise ValueError(
                f"rates must be different numbers between 0 and 1, such as [0.01, 0.05], not {list(rates)}"
            )
        return tuple(sorted(rates))

    @model_validator(mode="after")
    def _verdicts_have_a_threshold(self) -> Self:
        rates = self.false_positive_rates
        if self.verdicts_at is not None and self.verdicts_at not in rates:
            raise ValueError(f"verdicts_at {self.verdicts_at:g} must be one of false_positive_rates {list(rates)}")
        return self


class GateSettings(Settings):
    """Limits of what an exported file may lose."""

    max_difference: float = Field(1e-4, gt=0)
    """fp32: largest difference of a probability from the checkpoint's."""
    max_accuracy_drop: float = Field(0.005, ge=0)
    """INT8: accuracy lost on the validation split, as a fraction; refused when more is shown."""
    max_auc_drop: float = Field(0.005, ge=0)
    """INT8: AUC lost on the validation split; refused when more is shown."""
    min_agreement: float = Field(0.99, ge=0, le=1)
    """INT8: share of validation pictures with the checkpoint's verdict at 0.5; refused when fewer are shown."""
    max_batch_difference: float = Field(1e-3, gt=0)
    """Any file: largest difference of one image's probability between batches of 1, 3 and 5."""


class ExportSettings(Settings):
    """Making of ONNX files, and the limits of what they may lose."""

    calibration_images: int = Field(256, ge=2)
    """Training pictures on which static quantisation measures its ranges."""
    search_seconds: float = Field(240, ge=0)
    """After this time no further way of static quantisation is tried."""
    gate: GateSettings = GateSettings()
    """The limits of what a file may lose; a file beyond them does not ship."""


class CompressSettings(Settings):
    """Making of a compact detector by `fakelens compress`, and by `fakelens run` where it is wanted."""

    in_run: bool = True
    """Whether `fakelens run` compresses the detectors that are too large, and ships the compact ones in their place."""
    report_full: bool = True
    """Whether `fakelens run` also evaluates and exports the full detector, to stand beside the compact one."""
    target_mb: float | None = Field(None, gt=0)
    """Largest size of the static INT8 file in MB (10^6 bytes); null takes each detector's own."""
    steps: int = Field(3, ge=1)
    """In how many steps channels are removed, each followed by training."""
    epochs: int = Field(3, ge=1)
    """Epochs of training after each step, at most train.max_epochs."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate after each step; null takes that with which the full detector was trained."""
    teacher_weight: float = Field(0.5, ge=0, le=1)
    """Share of the full detector's probability in what is learnt, the rest being the label."""
    round_to: int = Field(8, ge=1)
    """Every layer keeps a multiple of this many channels: what vector instructions work on at once."""
