"""Exported ONNX files and their figures in; a folder that runs and deploys by itself out."""

import contextlib
import itertools
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from string import Template

from fakelens.app import wording
from fakelens.app.limits import ENDPOINT, HEALTH
from fakelens.bundle.exchange import exchange, fresh_folder, recover
from fakelens.core.artifacts import (
    bundle_files,
    is_sealed,
    is_unchanged,
    read_json,
    sha256_file,
    write_bytes,
    write_sealed,
    write_text,
)
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import heif_is_read
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.records import Metrics
from fakelens.core.run_folder import APP_SCRIPT, BUNDLE_RECORD, EXAMPLES, onnx_file
from fakelens.core.scoring import percent
from fakelens.core.table import Table
from fakelens.core.telemetry import TELEMETRY_OFF
from fakelens.runtime.bundle import FORMAT, BundleAbout, BundledModel, BundleInfo
from fakelens.runtime.cautions import DEMO
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.provenance import verifier

_PACKAGE = Path(__file__).parents[1]
# What the app needs of ours, copied whole: neither pydantic nor torch is imported in them.
_COPIED = ("core", "runtime", "app")
_TOP = ("__init__.py", "sharing.py")
_PYTHON = ".".join(platform.python_version_tuple()[:2])
_CARDS = "model_cards"
_APP_FILES = (APP_SCRIPT, ".streamlit/config.toml")
_REQUIREMENTS = ("numpy", "onnxruntime", "pillow", "streamlit")
# Trying the app before pushing it leaves compiled files behind; and the hashes are of these very bytes, which Git would
# otherwise give other line ends on Windows.
_GIT_FILES = {".gitignore": "__pycache__/\n", ".gitattributes": "* -text\n"}
# Optional in the code: its wheels do not exist for every machine. 27 MB on disk, 5 MB in memory until a HEIC comes.
_HEIF = "pillow-heif"
_C2PA = "c2pa-python"
_NO_C2PA_COMMENT = "# Without c2pa-python, as here, content credentials are shown and not verified.\n"
_NO_HEIF_COMMENT = "# Without pillow-heif, as here, the page refuses telephones' HEIC pictures.\n"
# Streamlit's own lower bounds admit releases with known CVEs, so these two are pinned beside it.
_SECURITY_REQUIREMENTS = ("python-multipart", "starlette")
_SECURITY_COMMENT = (
    "# Streamlit brings these two, but its lower bounds admit releases with known CVEs:\n"
    "# never go below starlette 0.47.2 or python-multipart 0.0.27.\n"
)


@dataclass(frozen=True)
class ModelEntry:
    """One model to ship; its name, sizes, thresholds and demo flag are read from the ONNX file."""

    onnx_path: Path
    display_name: str
    summary: str
    """One or two sentences for the visitor: what this detector is."""
    latency_ms: float
    """One image, CPU."""
    metrics: Metrics
    card: str
    """Its model card, Markdown."""
    facts: tuple[str, ...]
    """The card in a few sentences."""
    point_facts: tuple[str, ...] = ()
    """What each operating point does on the test split, in the order of the points; empty if it was not measured."""


def write_bundle(
    folder: Path,
    models: Sequence[ModelEntry],
    about: BundleAbout,
    examples: Mapping[str, bytes] | None = None,
    *,
    header: str = "",
    reporter: Reporter = SILENT,
) -> Path:
    """Write the deployment folder, replacing an older bundle in one move, and return it.

    `examples` are pictures to try the page with, by their file names; a name, without its ending, is shown.

    `header` stands at the top of its README.md, for the hub to read.

    What lies in the folder and is not the older bundle's own, such as a repository that was started there, stays. A
    file of its own that somebody has changed is kept beside the fresh one, and `reporter` says so.

    Raises:
        FakelensError: with the remedy, when Streamlit is missing, a model not ours, or `folder` no bundle.

    """
    folder = folder.resolve()  # a link stays one
    recover(folder)
    if folder.exists() and not (folder / BUNDLE_RECORD).is_file() and any(folder.iterdir()):
        raise FakelensError(f"{folder} holds something that is not a bundle: choose another folder or empty it")
    texts = {"requirements.txt": _requirements(), "README.md": header, **_GIT_FILES}
    fresh = fresh_folder(folder)
    try:
        info = _write_files(fresh, models, about, examples or {}, texts)
        write_sealed(fresh / BUNDLE_RECORD, {"format": FORMAT, **asdict(info)})
        if folder.exists():
            own: dict[str, str] = {}
            with contextlib.suppress(FakelensError):  # of a damaged one nothing counts as its own
                own = bundle_files(folder / BUNDLE_RECORD)
            for words in _keep_others(folder, fresh, own):
                reporter.say(f"bundle: {words}")
        exchange(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _write_files(
    folder: Path,
    models: Sequence[ModelEntry],
    about: BundleAbout,
    examples: Mapping[str, bytes],
    texts: dict[str, str],
) -> BundleInfo:
    shutil.rmtree(folder, ignore_errors=True)
    for source in (
        *(_PACKAGE / name for name in _TOP),
        *(file for name in _COPIED for file in (_PACKAGE / name).glob("*.py")),
    ):
        if source.name not in _APP_FILES:
            _copy(source, folder / "fakelens" / source.relative_to(_PACKAGE))
    for name in _APP_FILES:
        _copy(_PACKAGE / "app" / name, folder / name)
    detectors = [OnnxDetector(entry.onnx_path) for entry in models]
    names = [detector.name for detector in detectors]
    if not names or len(set(names)) < len(names):
        raise FakelensError(f"a bundle needs at least one model, each with a name of its own, not {names}")
    bundled = tuple(_add_model(folder, entry, detector) for entry, detector in zip(models, detectors, strict=True))
    demo = any(detector.demo for detector in detectors)
    for name, picture in examples.items():
        write_bytes(folder / EXAMPLES / name, picture)
    texts["README.md"] += _readme(bundled, about, demo=demo)
    telemetry_off = " ".join(f"{name}={value}" for name, value in TELEMETRY_OFF.items())
    texts["Dockerfile"] = _template("Dockerfile", python=_PYTHON, telemetry_off=telemetry_off, health=HEALTH)
    for name, text in texts.items():
        write_text(folder / name, text)
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return BundleInfo("fakelens", demo, about, bundled, files)


def _add_model(folder: Path, entry: ModelEntry, detector: OnnxDetector) -> BundledModel:
    file = onnx_file(detector.name)
    _copy(entry.onnx_path, folder / file)
    card = Path(_CARDS, f"{detector.name}.md")
    write_text(folder / card, entry.card)
    return BundledModel(
        name=detector.name,
        display_name=entry.display_name,
        summary=entry.summary,
        file=file,
        variant=detector.variant,
        input_px=detector.input_px,
        stored_px=detector.stored_px,
        threshold=detector.threshold,
        size_bytes=(folder / file).stat().st_size,
        latency_ms=entry.latency_ms,
        metrics=entry.metrics,
        operating_points=detector.operating_points,
        facts=entry.facts,
        point_facts=entry.point_facts,
        card=card.as_posix(),
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _keep_others(old: Path, fresh: Path, own: Mapping[str, str], folder: str = "") -> Iterator[str]:
    """Give `fresh` what lies in the older bundle `old` beside its `own` files, and those that somebody has changed.

    Yields:
        Each changed file, with the name that it is kept by beside the fresh one.
    """
    for path in sorted((old / folder).iterdir()):
        name = path.relative_to(old).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if path.name == "__pycache__" or (name == BUNDLE_RECORD and _is_as_written(path)):
            continue
        if is_folder and ((fresh / name).is_dir() or any(file.startswith(f"{name}/") for file in own)):
            yield from _keep_others(old, fresh, own, name)
        elif not (path.is_symlink() or is_folder) and _is_known(path, own.get(name), fresh / name):
            continue
        elif name in own or os.path.lexists(fresh / name):
            kept = next(
                kept for kept in _names_beside(name) if not any(os.path.lexists(at / kept) for at in (old, fresh))
            )
            link_or_copy(path, fresh / kept)
            yield f"{name} had been changed: kept as {kept}"
        else:
            link_or_copy(path, fresh / name)


def _is_known(path: Path, own: str | None, fresh: Path) -> bool:
    return (own is not None and is_unchanged(path, own)) or (fresh.is_file() and is_unchanged(path, sha256_file(fresh)))


def _is_as_written(record: Path) -> bool:
    try:
        return not record.is_symlink() and is_sealed(record, read_json(record))
    except (FakelensError, AttributeError, TypeError):
        return False


def _names_beside(name: str) -> Iterator[str]:
    yield f"{name}.old"
    yield from (f"{name}.old{number}" for number in itertools.count(2))


def link_or_copy(source: Path, target: Path) -> None:
    """The same files in a second place, without their bytes being copied where the file system can."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other, follow_symlinks=False)
        except OSError:  # it has no hard links
            shutil.copy2(one, other, follow_symlinks=False)

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=link)
    else:
        link(str(source), str(target))


def _requirements() -> str:
    """Exact pins of what is installed here, which is what the bundle was tried with."""
    try:
        pins, security = (
            [f"{package}=={metadata.version(package)}\n" for package in packages]
            for packages in (_REQUIREMENTS, _SECURITY_REQUIREMENTS)
        )
    except metadata.PackageNotFoundError as error:
        raise FakelensError(f"{error.name} is not installed, so it cannot be pinned: install fakelens[app]") from error
    heif = f"{_HEIF}=={metadata.version(_HEIF)}\n" if heif_is_read() else _NO_HEIF_COMMENT
    c2pa = f"{_C2PA}=={metadata.version(_C2PA)}\n" if verifier() else _NO_C2PA_COMMENT
    return "".join([*pins, heif, c2pa, _SECURITY_COMMENT, *security])


def _readme(models: Sequence[BundledModel], about: BundleAbout, *, demo: bool) -> str:
    return _template(
        "readme_template.md",
        num_models="one detector" if len(models) == 1 else f"{len(models)} detectors, side by side",
        demo_note=f"\n> **{DEMO.words}**\n" if demo else "",
        size=wording.size_words(sum(model.size_bytes for model in models)),
        python=_PYTHON,
        limits=wording.LIMITS,
        endpoint=ENDPOINT,
        health=HEALTH,
        table=_table(models),
        description=about.description,
        num_images=f"{about.num_images:,}",
        source=about.source,
        licence=about.licence,
        licence_note=_licence_note(about.licence),
        cannot_tell="\n".join(f"- {sentence}" for sentence in wording.CANNOT_TELL),
    )


def _template(name: str, **words: str) -> str:
    return Template((Path(__file__).parent / name).read_text(encoding="utf-8")).substitute(words)


def _licence_note(licence: str) -> str:
    """The obligations that a non-commercial licence puts on those who deploy the models."""
    if "NC" not in licence.upper().split("-"):
        return ""
    return (
        "The models were trained on it and are passed on under the same terms: name the source,\n"
        "and do not use them, or an app that serves them, commercially."
    )


def _table(models: Sequence[BundledModel]) -> str:
    head = ("Detector", *(label for label, _, _ in wording.figure_rows(models[0])), "Thresholds")
    rows = []
    for model in models:
        figures = [value for _, value, _ in wording.figure_rows(model)]
        thresholds = f"{percent(model.threshold.real)}, {percent(model.threshold.fake)}"
        rows.append((f"[{model.display_name}]({model.card}) (`{model.file}`)", *figures, thresholds))
    return Table(head, tuple(rows)).markdown(is_marked_up=True)
