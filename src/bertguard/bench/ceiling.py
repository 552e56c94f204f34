"""What this machine multiplies in a second: the ceiling over every model that runs on it.

Operations count twice (a product and a sum), as makers of processors count them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Rows, inner and outer width: the two feed-forward products of a 384-wide encoder, and one large
# square. The best of them counts.
_SHAPES = ((256, 384, 1536), (256, 1536, 384), (1024, 1024, 1024))


def int8_ceiling(cores: int, seconds: float) -> float | None:
    """10^9 int8 operations per second, one thread of ONNX Runtime per core.

    None where the package `onnx`, which builds the single product, is not installed.
    """
    if find_spec("onnx") is None:
        return None
    best = 0.0
    for rows, inner, outer in _SHAPES:
        calls = [_int8_product(rows, inner, outer) for _ in range(cores)]
        per_second = _calls_per_second(calls, seconds / len(_SHAPES))
        best = max(best, per_second * 2 * rows * inner * outer / 1e9)
    return best


def torch_ceiling(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """10^9 operations per second of torch's own product on a device, in a dtype."""
    import torch

    sizes = (4096, 8192) if device.type == "cuda" else (512, 1024)
    best = 0.0
    for size in sizes:
        left = torch.randn(size, size, device=device, dtype=dtype)
        right = torch.randn(size, size, device=device, dtype=dtype)
        out = torch.empty_like(left)

        def product(
            left: torch.Tensor = left, right: torch.Tensor = right, out: torch.Tensor = out
        ) -> None:
            for _ in range(8):  # several in a row: a GPU is asked, not waited for
                torch.mm(left, right, out=out)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        product()
        per_second = _calls_per_second([product], seconds / len(sizes)) * 8
        best = max(best, per_second * 2 * size**3 / 1e9)
    return best


def operations_per_token(directory: Path) -> float | None:
    """Operations of the weight products of an encoder, for one token: twice its matrices.

    Attention's own products, which grow with the length and are not quantised, do not count. None
    where the configuration is of a kind that is not known here.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        hidden, layers = config["hidden_size"], config["num_hidden_layers"]
        return float(2 * layers * (4 * hidden**2 + 2 * hidden * config["intermediate_size"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _calls_per_second(calls: Sequence[Callable[[], object]], seconds: float) -> float:
    for call in calls:
        call()
    done = [0] * len(calls)
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            calls[number]()
            done[number] += 1

    begun = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - begun)


def _int8_product(rows: int, inner: int, outer: int) -> Callable[[], object]:
    import numpy as np
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 127, (inner, outer), dtype=np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["out"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("out", TensorProto.INT32, [rows, outer])],
        [numpy_helper.from_array(weight, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    left = rng.integers(0, 255, (rows, inner), dtype=np.uint8)
    # Into memory that is there already, or the ceiling would measure the allocation of the result.
    binding = session.io_binding()
    binding.bind_cpu_input("left", left)
    binding.bind_output("out", "cpu")
    return lambda: session.run_with_iobinding(binding)
