"""Files that are either whole or absent, their hashes, and the record by which a stage says that it is complete."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from fakelens.core.errors import DamagedFileError, FakelensError
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.records import Environment, Inputs
from fakelens.core.run_folder import command_for

_SEAL = "record_sha256"
_EARLIER = "earlier"
_BEGUN = ("key", "settings", "inputs")
_UMASK = os.umask(0)
os.umask(_UMASK)
_SHORT, _MAX_SHOWN = 12, 60
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
    # A part of the name: file systems take 255 bytes.
    temporary = target.with_name(f".{target.name[:_MAX_SHOWN]}.{os.getpid()}.tmp")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(target)
    except OSError as error:
        error.filename = error.filename or str(target)  # that the disk is full comes without a name
        raise
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Bring a file's bytes to the disk, and give it the mode of any new file (some libraries' are 0600)."""
    path.chmod(0o666 & ~_UMASK)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_bytes(target: Path, data: bytes) -> None:
    """Write `data` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically as UTF-8; bytes of a file name that are not UTF-8 are escaped."""
    write_bytes(target, text.encode(errors="backslashreplace"))


def to_json(value: Any) -> str:
    """`value` as indented JSON; NaN is refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(target: Path, value: Any) -> None:
    """Write `value` to `target` atomically as indented JSON; NaN is refused."""
    write_text(target, to_json(value))


def read_json(path: Path) -> Any:
    """Read one JSON file.

    Raises:
        FakelensError: naming the file when it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FakelensError(f"{path} is missing: run the stage that writes it") from error
    except (ValueError, RecursionError) as error:
        raise FakelensError(f"{path} is not readable JSON ({error}): run its stage again with --force") from error


def write_sealed(target: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its own hash in it, so that a changed byte of the file is noticed."""
    text = to_json({**value, _SEAL: ""})
    seal = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
    write_text(target, to_json({**json.loads(text), _SEAL: seal}))


def is_sealed(path: Path, value: Mapping[str, Any]) -> bool:
    """Whether the file, whose content is `value`, is byte for byte as `write_sealed` wrote it."""
    text = to_json({**value, _SEAL: ""}).encode(errors="backslashreplace")
    # The file's text too, since a changed byte may leave the meaning as it was.
    same_text = to_json(value).encode(errors="backslashreplace") == path.read_bytes()
    return same_text and hashlib.sha256(text).hexdigest() == value.get(_SEAL)


def sha256_file(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits; reads in pieces, so any size fits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_unchanged(path: Path, sha256: str) -> bool:
    """Whether the file is there and its bytes have this hash."""
    return path.is_file() and sha256_file(path) == sha256


def sha256_json(value: Any) -> str:
    """SHA-256 of the canonical JSON form of `value`."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


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
    digest: str
    """Hash of those outputs that decide (pixels, weights, figures; no plot, no clock): a later stage's input."""
    seconds: float
    results: Mapping[str, Any]
    environment: Environment
    folder: Path = field(default=Path(), compare=False)
    """Where it lies; not part of the file."""
    is_new: bool = field(default=False, compare=False)
    """Whether it was written just now, not found finished; not part of the file."""

    @property
    def made_of(self) -> Inputs:
        """`inputs` by name; of a stage behind `prepare`, whose own are files."""
        return Inputs(**{name: self.inputs[name] for name in vars(Inputs()) if name in self.inputs})

    @property
    def duration(self) -> str:
        """Time that the stage took, or that it was left as it was."""
        return f"{self.seconds:.0f} s" if self.is_new else "unchanged, kept"

    def output(self, name: str) -> Path:
        """Path of one output, after its bytes were compared with the hash that was written.

        Raises:
            DamagedFileError: when the file is missing or not the one that the stage wrote.
        """
        path = self.folder / name
        if not is_unchanged(path, self.outputs[name]):
            raise DamagedFileError(
                path,
                f"is not the file that `{self.stage}` wrote" if path.is_file() else "is missing",
                f"restore it from a copy, or run `{command_for(self.folder / f'{self.stage}.json', '--force')}`",
            )
        return path

    def changed_outputs(self) -> list[str]:
        """Names of the outputs whose bytes are no longer those that the stage wrote."""
        return [name for name, digest in self.outputs.items() if not is_unchanged(self.folder / name, digest)]


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

    @property
    def _begun_path(self) -> Path:
        """Key and settings of a stage that has begun and not finished."""
        return self.folder / f".{self.name}.begun.json"

    def finished(self) -> StageRecord | None:
        """The record, if it answers to the same settings and inputs and all its outputs are still there.

        Raises:
            DamagedFileError: when it does, and an output is not what the stage wrote.
        """
        if not self.record_path.exists():
            return None
        record = load_record(self.record_path)
        if record.key != self.key or not all((self.folder / output).is_file() for output in record.outputs):
            return None
        for name in record.outputs:
            record.output(name)
        return record

    def begin(self) -> None:
        """Withdraw an older record: from here until `finish` the stage counts as not done.

        The older record stays beside as `NAME.previous.json`, so that its figures are not lost.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for temporary in self.folder.glob(".*.tmp"):
            temporary.unlink()  # of a killed process: one at a time works in a folder
        begun = dict(zip(_BEGUN, (self.key, self.settings, self.inputs), strict=True))
        write_json(self._begun_path, begun | {_SEAL: sha256_json(begun)})
        if self.record_path.exists():
            self.record_path.replace(self.record_path.with_suffix(".previous.json"))

    def changes(self) -> list[str]:
        """Differences from the finished or interrupted work that lies in the folder; empty if there are none."""
        return self._changes(self._left(strict=False))

    def _changes(self, left: Mapping[str, Any] | None) -> list[str]:
        if left is None or left["key"] == self.key:
            return []
        changes = differences(left["settings"], self.settings)
        changes += [f"another {name}" for name in differences(left["inputs"], self.inputs, names_only=True)]
        return changes or ["another version of fakelens"]

    def keep_others(self, reporter: Reporter = SILENT, *, but: Collection[str] = (), force: bool = False) -> None:
        """Move what another setting left in the folder to `earlier/`, and take up what this one left there before.

        Args:
            reporter: says what is kept where.
            but: names in the folder that belong to other stages.
            force: go on where the record of what lies there is damaged.

        Raises:
            DamagedFileError: when that record is.
        """
        earlier = self.folder / _EARLIER
        left = self._left(strict=not force)
        if left and (changes := self._changes(left)):
            place = earlier / left["key"][:_SHORT]
            reporter.say(
                f"{self.name}: {', '.join(changes)}; what was made before is kept in {place} and taken up again with "
                "the former settings"
            )
            _move(self._own(self.folder, but), place)
        if (own := earlier / self.key[:_SHORT]).is_dir():
            reporter.say(f"{self.name}: going on with what lay in {own}")
            _move(self._own(own, ()), self.folder)
            own.rmdir()

    def _own(self, folder: Path, but: Collection[str]) -> list[Path]:
        """The stage's files in `folder`; those that say what the others are come last."""
        last = [self._begun_path.name, self.record_path.name]
        paths = [path for path in folder.iterdir() if path.name not in {*but, *last, _EARLIER}]
        return [*sorted(paths), *(folder / name for name in last if (folder / name).exists())]

    def _left(self, *, strict: bool) -> Mapping[str, Any] | None:
        """Key, settings and inputs of what lies in the folder; None where nothing tells.

        Raises:
            DamagedFileError: with `strict`, when what tells is damaged.
        """
        try:
            if self.record_path.exists():
                record = load_record(self.record_path)
                return {"key": record.key, "settings": record.settings, "inputs": record.inputs}
            if self._begun_path.exists():
                plain = read_json(self._begun_path)
                left = {name: plain[name] for name in _BEGUN}
                if plain[_SEAL] != sha256_json(left):
                    raise KeyError(_SEAL)
                return left
        except FakelensError:
            if strict:
                raise
        except (KeyError, TypeError) as error:
            if strict:
                raise DamagedFileError(
                    self._begun_path, "is damaged", "remove it: the same command then goes by what else lies there"
                ) from error
        return None

    def finish(self, outputs: Sequence[Path], results: Mapping[str, Any], *, aside: Sequence[Path] = ()) -> StageRecord:
        """Hash the outputs and write the record.

        Args:
            outputs: what decides: pixels, weights, figures.
            results: the stage's figures, for the record.
            aside: further files, such as plots and times, that are hashed but are no part of the digest.
        """

        def hashes(paths: Sequence[Path]) -> dict[str, str]:
            return {path.relative_to(self.folder).as_posix(): sha256_file(path) for path in sorted(paths)}

        decisive = hashes(outputs)
        record = StageRecord(
            stage=self.name,
            key=self.key,
            settings=self.settings,
            inputs=self.inputs,
            outputs=dict(sorted((decisive | hashes(aside)).items())),
            digest=sha256_json(decisive),
            seconds=round(time.monotonic() - self._started_s, 1),
            results=results,
            environment=environment(),
            folder=self.folder,
        )
        # Results stand at the top level, where scripts look for them.
        plain = asdict(record)
        del plain["folder"], plain["is_new"]
        write_sealed(self.record_path, plain.pop("results") | plain)
        self._begun_path.unlink(missing_ok=True)
        return replace(load_record(self.record_path), is_new=True)


def load_record(path: Path) -> StageRecord:
    """Read a stage's record.

    Raises:
        FakelensError: naming the file and the remedy when it is missing, damaged or of another make.
    """
    if not path.exists():
        raise FakelensError(f"{path} is missing: run `{command_for(path)}`")
    plain = read_json(path)
    try:
        whole = is_sealed(path, plain)
        del plain[_SEAL]
        names = [item.name for item in fields(StageRecord) if item.name not in ("results", "folder", "is_new")]
        own = {name: plain.pop(name) for name in names}
        own["environment"] = Environment(**own["environment"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FakelensError(
            f"{path} is not a stage record of this version: run `{command_for(path, '--force')}`"
        ) from error
    if not whole:
        raise DamagedFileError(path, "is not as its stage wrote it", f"run `{command_for(path, '--force')}`")
    return StageRecord(**own, results=plain, folder=path.parent)


def bundle_files(record: Path) -> dict[str, str]:
    """File -> hash, as a `bundle.json` of whatever version lists them; a FakelensError where it lists none."""
    try:
        return dict(read_json(record)["files"])
    except (ValueError, TypeError, KeyError) as error:
        raise FakelensError(f"{record} does not list its files ({type(error).__name__})") from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, names_only: bool = False) -> list[str]:
    """Differences between two nested mappings of plain values: `a.b 1 → 2`, or the names alone."""
    before, after = _flat(old), _flat(new)
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    if names_only:
        return names
    return [f"{name} {_short(before.get(name))} → {_short(after.get(name))}" for name in names]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{prefix}{name}.") if isinstance(item, Mapping) and item else {f"{prefix}{name}": item}
    # JSON has lists where Python has tuples.
    return {name: list(item) if isinstance(item, tuple) else item for name, item in flat.items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _move(paths: Sequence[Path], folder: Path) -> None:
    """Move files and folders, in this order, replacing what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)


def environment() -> Environment:
    """Where this process runs, and with what."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return Environment(
        revision=_git_revision(),
        python=platform.python_version(),
        versions=versions,
        machine=platform.machine(),
        cpu=_cpu_name(),
        num_cpus=os.cpu_count(),
        written=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


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
