import subprocess
import sys
from pathlib import Path

import pytest

# 32 MB are taken and given back 50 times; every page that the system hands out anew is a minor fault.
_FAULTS = """
import resource, sys
from fakelens.core.memory import keep_freed_memory
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
