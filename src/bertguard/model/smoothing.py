"""An fp32 ONNX graph -> the same function in a form that int8 represents better.

Dynamic quantisation takes one range for a whole activation, so a few channels with large values
(after GELU, and after every normalisation) cost all others their precision. Here each channel of
an activation is divided by a factor of its own and the row of the weight multiplied by it: the
product is the same, the range is shared out. Products of one input (query, key, value) become one,
so that the input is quantised once.

Source: SmoothQuant, Xiao et al. 2022, https://arxiv.org/abs/2211.10438.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bertguard.model.onnx_graph import drop_unused
from bertguard.scoring import Window

# Share of the difficulty that goes from activations to weights: weights have a range per output
# channel, activations one for all, so most of it. Chosen by int8 error on texts of the pool.
_STRENGTH = 0.85
# Smaller products, the head among them, are left as they are.
_LEAST_WIDTH = 8

_Array = NDArray[np.float32]


def smooth(fp32: Path, smoothed: Path, windows: Sequence[Window]) -> None:
    """Write the smoothed graph.

    Args:
        fp32: an ONNX classifier as `to_onnx` writes it.
        smoothed: where to write.
        windows: real ones; they show how large the channels of the activations are.
    """
    model = onnx.load(fp32)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    products: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if _is_product(node, weights):
            products.setdefault(node.input[0], []).append(node)
    largest = _largest(fp32, list(products), windows)
    biases = _biases(model.graph, weights)
    # Sums that one sum before the split does.
    summed = {
        biases[node.output[0]][1]
        for group in products.values()
        if _share_a_sum(group, biases)
        for node in group
    }
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for node in model.graph.node:
        group = products.get(node.input[0], []) if node.input else []
        if not any(node.name == one.name for one in group):
            if node.output[0] not in summed:
                nodes.append(node)
        elif node.input[0] not in done:
            done.add(node.input[0])
            nodes += _one_product(model.graph, group, weights, biases, largest[node.input[0]])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unused(model.graph)
    onnx.save(model, smoothed)


def _is_product(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    """A matrix product with a constant matrix, of the kind that is quantised."""
    if node.op_type != "MatMul" or node.input[1] not in weights:
        return False
    shape = weights[node.input[1]].dims
    return len(shape) == 2 and min(shape) > _LEAST_WIDTH


def _largest(
    fp32: Path, names: Sequence[str], windows: Sequence[Window]
) -> dict[str, NDArray[np.float64]]:
    """The largest absolute value of every channel of the named activations."""
    import onnxruntime as ort

    model = onnx.load(fp32)
    for name in names:
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {node.name for node in session.get_inputs()}
    found: dict[str, NDArray[np.float64]] = {}
    for window in windows:
        ids = np.asarray([window.ids], dtype=np.int64)
        feed = {"input_ids": ids}
        if "token_type_ids" in inputs:
            feed["token_type_ids"] = np.full_like(ids, window.channel)
        for name, value in zip(names, session.run(list(names), feed), strict=True):
            top = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            found[name] = np.maximum(found.get(name, 0.0), top)
    return found


def _biases(
    graph: onnx.GraphProto, weights: Mapping[str, onnx.TensorProto]
) -> dict[str, tuple[_Array, str]]:
    """Product -> the vector that is added to nothing else than it, and the name of that sum."""
    read: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            read.setdefault(name, []).append(node)
    found = {}
    for name, readers in read.items():
        if len(readers) == 1 and readers[0].op_type == "Add":
            other = next((each for each in readers[0].input if each != name), name)
            if other in weights and len(weights[other].dims) == 1:
                found[name] = (numpy_helper.to_array(weights[other]), readers[0].output[0])
    return found


def _share_a_sum(group: Sequence[onnx.NodeProto], biases: Mapping[str, tuple[_Array, str]]) -> bool:
    return len(group) > 1 and all(node.output[0] in biases for node in group)


def _one_product(
    graph: onnx.GraphProto,
    group: Sequence[onnx.NodeProto],
    weights: Mapping[str, onnx.TensorProto],
    biases: Mapping[str, tuple[_Array, str]],
    largest: NDArray[np.float64],
) -> list[onnx.NodeProto]:
    """The products of one input as scaling, one product and, where they were several, a split."""
    first = group[0]
    matrices = [numpy_helper.to_array(weights[node.input[1]]) for node in group]
    matrix = np.concatenate(matrices, axis=1)
    factors = _factors(largest, np.abs(matrix).max(axis=1))
    made: dict[str, NDArray[np.generic]] = {
        "inverse": (1 / factors).astype(np.float32),
        "weight": (matrix * factors[:, None]).astype(np.float32),
    }
    scaled = f"{first.name}_scaled"
    whole = first.output[0] if len(group) == 1 else f"{first.name}_whole"
    nodes = [
        helper.make_node("Mul", [first.input[0], f"{first.name}_inverse"], [scaled], scaled),
        helper.make_node("MatMul", [scaled, f"{first.name}_weight"], [whole], first.name),
    ]
    if len(group) > 1:
        outputs = [node.output[0] for node in group]
        if _share_a_sum(group, biases):
            # One sum before the split, which the quantised product then does itself.
            made["bias"] = np.concatenate([biases[name][0] for name in outputs])
            outputs = [biases[name][1] for name in outputs]
            summed = f"{first.name}_summed"
            nodes.append(helper.make_node("Add", [whole, f"{first.name}_bias"], [summed], summed))
            whole = summed
        made["sizes"] = np.asarray([matrix.shape[1] for matrix in matrices], dtype=np.int64)
        split = helper.make_node(
            "Split", [whole, f"{first.name}_sizes"], outputs, f"{first.name}_split", axis=-1
        )
        nodes.append(split)
    for kind, value in made.items():
        graph.initializer.append(numpy_helper.from_array(value, f"{first.name}_{kind}"))
    return nodes


def _factors(activation: NDArray[np.float64], weight: _Array) -> NDArray[np.float64]:
    """One factor per channel, about 1 in the (geometric) middle."""
    floor = 1e-5
    factors = np.maximum(activation, floor) ** _STRENGTH / np.maximum(weight, floor) ** (
        1 - _STRENGTH
    )
    middle: NDArray[np.float64] = np.clip(factors / np.exp(np.log(factors).mean()), 1e-3, 1e3)
    return middle
