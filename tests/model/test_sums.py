"""The question that decides between two kernels is the right one, and a doubt is a no."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bertguard.model import sums
from bertguard.model.sums import PROBE, sums_are_exact


def probe(weight: int = 127) -> bytes:
    """The product that is asked for: one node, its weights constant, so that they are packed."""
    weights = numpy_helper.from_array(np.full((64, 16), weight, np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["values", "weights"], ["sums"])],
        "sums",
        [helper.make_tensor_value_info("values", TensorProto.UINT8, ["rows", 64])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, ["rows", 16])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_the_file_is_that_product() -> None:
    """Nobody can read a graph in bytes; this is where it comes from."""
    assert onnx.load(PROBE) == onnx.load_from_string(probe())


@pytest.mark.parametrize("content", [probe(weight=126), b"no model"])
def test_another_sum_and_no_sum_are_no(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not exactly the sum, or cannot be asked, takes the slower way."""
    monkeypatch.setattr(sums, "PROBE", tmp_path / "probe.onnx")
    (tmp_path / "probe.onnx").write_bytes(content)
    assert not sums_are_exact.__wrapped__()


def test_a_cpu_that_says_it_is_exact_is_not_slowed_down() -> None:
    """VNNI sums in 32 bits; without the quick way there the model would take twice the time."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        pytest.skip("only Linux tells what its CPU can do")
    if flags.isdisjoint(("avx512_vnni", "avx_vnni")):
        pytest.skip("no VNNI here: whether sums are exact depends on the kernel")
    assert sums_are_exact.__wrapped__()
