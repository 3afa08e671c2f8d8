"""The number of threads follows the container's quota, wherever it is set; freed memory stays with the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakelens.core.machine import available_cpus


def cpus(root: Path, own_groups: str, **files: str) -> int:
    """What is available with these files; `a__b` stands for a/b, below the mounted groups."""
    for name, text in {"own_groups": own_groups, **files}.items():
        path = root / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return available_cpus(root, root / "own_groups")


@pytest.fixture(autouse=True)
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200000 100000", 2),
        ("50000 100000", 1),
        ("150000 100000", 2),
        ("7800 100000", 1),
        ("max 100000", 64),
        ("9900000 100000", 64),
        ("", 64),
        ("nonsense", 64),
    ],
)
def test_version_2(tmp_path: Path, text: str, expected: int) -> None:
    assert cpus(tmp_path, "0::/", cpu_max=text) == expected


def test_the_tightest_group_around_the_process_counts(tmp_path: Path) -> None:
    given = {"pod__cpu_max": "300000 100000", "pod__one__cpu_max": "max 100000", "cpu_max": "800000 100000"}
    assert cpus(tmp_path, "0::/pod/one", **given, other__cpu_max="100000 100000") == 3


def test_a_path_of_the_host_is_looked_for_at_the_container_s_root(tmp_path: Path) -> None:
    assert cpus(tmp_path, "0::/docker/0123abcd", cpu_max="400000 100000") == 4


@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("-1", 64)])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
def test_version_1(tmp_path: Path, quota: str, expected: int, controllers: str) -> None:
    given = {"cpu__job__cfs_quota_us": quota, "cpu__job__cfs_period_us": "100000"}
    groups = f"3:memory:/elsewhere\n2:cpuset:/\n1:{controllers}:/job"
    assert cpus(tmp_path, groups, **given) == expected


def test_affinity_counts_where_there_is_no_quota(tmp_path: Path) -> None:
    assert available_cpus(tmp_path, tmp_path / "no_such_file") == 64


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_this_machine() -> None:
    program = (
        "import os; from fakelens.core.machine import available_cpus; "
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(available_cpus())"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "1\n"


# 32 MB are taken and given back 50 times; every page that the system hands out anew is a minor fault.
_FAULTS = """
import resource, sys
from fakelens.core.machine import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
bytearray(2**25)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bytearray(b"x") * 2**25
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="glibc's allocator is Linux's")
def test_freed_memory_is_not_mapped_anew() -> None:
    plain, keeping = (
        int(subprocess.run([sys.executable, "-c", _FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("plain", "keep")
    )
    assert keeping < plain / 5
