"""Does this CPU sum 8-bit products exactly? Asked of the runtime itself, with one small product."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

# `sums = MatMulInteger(values, weights)`: values are unsigned `(rows, 64)`, weights signed and all
# 127 `(64, 16)`. tests/model/test_sums.py makes it.
PROBE = Path(__file__).parent / "sums.onnx"
_INNER = 64


@cache
def sums_are_exact() -> bool:
    """False where unsigned by signed 8-bit sums overflow: x86 without VNNI.

    There pairs of products are summed in 16 bits (`vpmaddubsw`), and 2 x 255 x 127 does not fit.
    ONNX Runtime's own way round it, `session.x64quantprecision`, takes weights as unsigned on
    every x86 CPU whose kernels for the two differ, and on those with VNNI or AMX, which need no
    way round, the model then takes twice the time for the very same scores.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(PROBE), options, providers=["CPUExecutionProvider"])
        # One row goes through another kernel than several.
        largest = [np.full((rows, _INNER), 255, dtype=np.uint8) for rows in (1, 8)]
        sums = [session.run(None, {"values": values})[0] for values in largest]
    except Exception:  # noqa: BLE001 - onnxruntime's errors share no base; slower is always right
        return False
    return all(bool((found == _INNER * 255 * 127).all()) for found in sums)
