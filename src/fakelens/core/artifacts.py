"""Files that are either whole or absent, their hashes, and the record by which a stage says that it is complete."""

import contextlib
import hashlib
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from fakelens.core.errors import FakelensError

_SEAL = "record_sha256"
_PACKAGES = (
    "numpy",
    "pillow",
    "torch",
    "lightning",
    "timm",
    "transformers",
    "torch-pruning",
    "onnx",
    "onnxruntime",
    "pyarrow",
)


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success flush it to disk and rename it into place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes) -> None:
    """Write `data` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically as UTF-8."""
    write_bytes(target, text.encode())


def to_json(value: Any) -> str:
    """`value` as indented JSON; NaN is refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(target: Path, value: Any) -> None:
    """Write `value` to `target` atomically as indented JSON; NaN is refused."""
    write_text(target, to_json(value))


def read_json(path: Path) -> Any:
    """Read one JSON file.

    Raises:
        ValueError: naming the file when it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FakelensError(f"{path} is missing: run the stage that writes it") from error
    except ValueError as error:
        raise FakelensError(f"{path} is not readable JSON ({error}): run its stage again with --force") from error


def sha256_file(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits; reads in pieces, so any size fits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of the canonical JSON form of `value`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class StageRecord:
    """A stage's own account of what it did, written last: its presence means that the stage is complete."""

    stage: str
    key: str
    """Hash of everything the outcome depends on: stage version, settings, hashes of the inputs."""
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    """Path relative to the record's folder -> SHA-256."""
    seconds: float
    results: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of the outputs: what a later stage names as its input."""
        return sha256_json(dict(self.outputs))


class Stage:
    """One stage's folder and record: says whether it is up to date, and writes the record at the end."""

    def __init__(
        self, name: str, folder: Path, *, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> None:
        self.name, self.folder = name, folder
        self.settings, self.inputs = dict(settings), dict(inputs)
        self.key = sha256_json({"stage": name, "version": version, "settings": self.settings, "inputs": self.inputs})
        self._started_s = time.monotonic()

    @property
    def record_path(self) -> Path:
        return self.folder / f"{self.name}.json"

    def finished(self) -> StageRecord | None:
        """The record, if it answers to the same settings and inputs and all its outputs are still there."""
        if not self.record_path.exists():
            return None
        record = load_record(self.record_path)
        whole = all((self.folder / output).is_file() for output in record.outputs)
        return record if record.key == self.key and whole else None

    def begin(self) -> None:
        """Withdraw an older record: from here until `finish` the stage counts as not done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.record_path.unlink(missing_ok=True)

    def finish(self, outputs: Sequence[Path], results: Mapping[str, Any]) -> StageRecord:
        """Hash the outputs and write the record."""
        record = StageRecord(
            stage=self.name,
            key=self.key,
            settings=self.settings,
            inputs=self.inputs,
            outputs={path.relative_to(self.folder).as_posix(): sha256_file(path) for path in sorted(outputs)},
            seconds=round(time.monotonic() - self._started_s, 1),
            results=results,
            environment=environment(),
        )
        # Results stand at the top level, where scripts look for them.
        plain = asdict(record)
        text = to_json(plain.pop("results") | plain | {_SEAL: ""})
        write_text(self.record_path, _sealed(text, hashlib.sha256(text.encode()).hexdigest()))
        return record


def load_record(path: Path) -> StageRecord:
    """Read a stage's record.

    Raises:
        ValueError: naming the file and the remedy when it is missing, damaged or of another make.
    """
    plain = read_json(path)
    try:
        del plain[_SEAL]
        own = {item.name: plain.pop(item.name) for item in fields(StageRecord) if item.name != "results"}
        return StageRecord(**own, results=plain)
    except (AttributeError, KeyError, TypeError) as error:
        raise FakelensError(f"{path} is not a stage record of this version: run its stage with --force") from error


def changed_outputs(record_path: Path) -> list[str]:
    """Names of the files of a stage, its record among them, whose bytes are no longer those that it wrote.

    Raises:
        ValueError: when the record is missing or so damaged that it does not name its outputs.
    """
    folder, text = record_path.parent, _text_of(record_path)
    found = re.search(rf'"{_SEAL}": "([0-9a-f]{{64}})"', text)
    if not found or hashlib.sha256(_sealed(text, "", found[1]).encode()).hexdigest() != found[1]:
        return [record_path.name]  # what it says of the others cannot be trusted
    return [
        name
        for name, digest in load_record(record_path).outputs.items()
        if not (folder / name).is_file() or sha256_file(folder / name) != digest
    ]


def _sealed(text: str, digest: str, instead_of: str = "") -> str:
    """A record's text with `digest` as its own hash, which is taken of the text without it."""
    return text.replace(f'"{_SEAL}": "{instead_of}"', f'"{_SEAL}": "{digest}"')


def _text_of(path: Path) -> str:
    """The file's text; damaged bytes become another text, whose hash differs."""
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError as error:
        raise FakelensError(f"{path} is missing: run the stage that writes it") from error


def environment() -> dict[str, Any]:
    """Versions, source revision and hardware: what a reader needs to judge or repeat a figure."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "revision": _git_revision(),
        "python": platform.python_version(),
        "versions": versions,
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "num_cpus": os.cpu_count(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _git_revision() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
