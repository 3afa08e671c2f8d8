"""onnxruntime as the export uses it: sessions of its own, and those that libraries open, without their warnings."""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

from fakelens.core.machine import available_cpus

_FATAL = 4  # onnxruntime's severity


def measuring_session(model: bytes) -> Any:
    """An onnxruntime session whose number of threads is stated.

    Where onnxruntime chooses it, it fixes each thread to a CPU too, and complains where a container forbids that.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A block whose libraries say nothing; what fails in it is raised all the same.

    onnxruntime's quantiser advises pre-processing even when that was done, its calibrators print, and the sessions of
    both, and onnxslim's, leave the number of threads to onnxruntime (see `measuring_session`).
    """
    import onnxruntime as ort

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    set_severity = ort.set_default_logger_severity
    set_severity(_FATAL)  # for good, since a thread may begin, and complain, after the block
    ort.set_default_logger_severity = lambda _: None  # onnxslim sets another one
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        ort.set_default_logger_severity = set_severity
        logging.getLogger().setLevel(level)
