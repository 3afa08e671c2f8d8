"""No word of onnxruntime's on the terminal where a container does not let it fix its threads to CPUs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from onnx_models import onnx_bytes

STRACE = shutil.which("strace")
REFUSED = ["-f", "-e", "trace=sched_setaffinity", "-e", "inject=sched_setaffinity:error=EINVAL", "-o", os.devnull]
CODE = """
import sys
import numpy as np
import onnxruntime as ort
from fakelens.export.sessions import measuring_session, quiet
model = open(sys.argv[1], "rb").read()
def run(session):
    session.run(["probability"], {"image": np.zeros((2, 3, 224, 224), np.float32)})
def default_session():
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])
if sys.argv[2] == "ours":
    run(measuring_session(model))
elif sys.argv[2] == "quiet":
    with quiet():
        run(default_session())
else:
    run(default_session())
"""


def words(tmp_path: Path, way: str) -> str:
    if STRACE is None or subprocess.run([STRACE, *REFUSED, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no strace to refuse the call with: apt-get install strace")
    (tmp_path / "tiny.onnx").write_bytes(onnx_bytes())
    command = [STRACE, *REFUSED, sys.executable, "-c", CODE, str(tmp_path / "tiny.onnx"), way]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stderr


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU needs no second thread")
def test_a_session_by_itself_complains(tmp_path: Path) -> None:
    assert "pthread_setaffinity_np failed" in words(tmp_path, "bare")


@pytest.mark.parametrize("way", ["ours", "quiet"])
def test_the_exports_sessions_do_not(tmp_path: Path, way: str) -> None:
    assert words(tmp_path, way) == ""
