"""A smoothed graph is the same function, with fewer and easier products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bertguard.model.checkpoint import read_manifest
from bertguard.model.onnx_graph import to_onnx
from bertguard.model.onnx_scorer import OnnxScorer
from bertguard.model.smoothing import smooth
from tiny import WORDS, tiny_checkpoint

TEXTS = [" ".join(WORDS[n : n + 9]) for n in range(12)]


def products(file: Path) -> list[str]:
    """Names of the matrix products with a constant matrix."""
    graph = onnx.load(file).graph
    constants = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    return [n.name for n in graph.node if n.op_type == "MatMul" and n.input[1] in constants]


def sums(file: Path) -> int:
    """How many vectors are added."""
    graph = onnx.load(file).graph
    constants = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 1}
    return sum(n.op_type == "Add" and not constants.isdisjoint(n.input) for n in graph.node)


def with_biases(file: Path) -> None:
    """Those of an untrained model are all 0, and a lost one would not be missed."""
    model = onnx.load(file)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".bias"):
            drawn = rng.normal(0, 0.5, tuple(tensor.dims)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
    onnx.save(model, file)


def test_scores_stay_the_same_and_shared_inputs_are_multiplied_once(tmp_path: Path) -> None:
    """Law: smoothing moves factors between two sides of a product, and nothing else."""
    directory = tiny_checkpoint(tmp_path / "checkpoint", onnx=False)
    manifest = read_manifest(directory)
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    to_onnx(directory, manifest, before)
    with_biases(before)
    plain = OnnxScorer.load(directory, manifest, file=str(before), parallelism=1)
    windows = [
        w for n, text in enumerate(TEXTS) for w in plain.windows(text, ("prompt", "data")[n % 2])
    ]
    smooth(before, after, windows)
    smoothed = OnnxScorer.load(directory, manifest, file=str(after), parallelism=1)
    assert np.asarray(smoothed.score(windows)) == pytest.approx(plain.score(windows), abs=1e-5)
    # Query, key and value of each of the two layers are one product now, and one sum.
    assert len(products(before)) - len(products(after)) == 2 * 2
    assert sums(before) - sums(after) == 2 * 2
