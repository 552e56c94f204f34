"""torch -> an fp32 ONNX graph that reads windows without padding.

The guard sends every window through the model alone (see `bertguard.model.onnx_scorer`), so the
graph has no mask, and attention is one node of ONNX Runtime's own kernel where the encoder lets
its attention be replaced: an int8 window then takes about 0.9 times as long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from bertguard.errors import CheckpointError
from bertguard.model.checkpoint import Manifest
from bertguard.model.torch_scorer import load_classifier

# The first with GELU as one node.
_OPSET = 20
_ONE_NODE = "bertguard_one_node"
# https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
_NODE = "MultiHeadAttention"


def to_onnx(directory: Path, manifest: Manifest, file: Path, *, one_node: bool = True) -> None:
    """The classifier as an fp32 ONNX graph: ids and segments `(batch, tokens)` -> logits.

    The windows of a batch must be of one length: every id counts, there is no mask. Without
    `one_node` attention is of ONNX's own operators, which every runtime knows.

    Raises:
        CheckpointError: torch cannot export it.
    """
    classifier = load_classifier(directory, manifest)
    if one_node:
        _replace_attention(classifier.encoder)
    else:
        classifier.encoder.set_attn_implementation("eager")
    inputs = ["input_ids"]
    if manifest.channel == "token_type_ids":
        inputs.append("token_type_ids")
    # One tensor per input: of two names for one, the exporter would keep one.
    ids = tuple(torch.full((2, 12), manifest.pad_id, dtype=torch.long) for _ in inputs)
    sizes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("tokens", min=2)}
    with warnings.catch_warnings(), quiet(), torch.inference_mode(False), torch.no_grad():
        # Deprecations inside torch and transformers while they trace are none of the user's.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Unpadded(classifier, tuple(inputs)),
            ids,
            input_names=inputs,
            output_names=["logits"],
            dynamic_shapes=(tuple(dict(sizes) for _ in inputs),),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise CheckpointError(f"{directory}: torch could not export it to ONNX")
        program.save(file, external_data=False)
    model = onnx.load(file)
    _join_reshapes(model.graph)
    forget_tracing(model.graph)
    onnx.save(model, file)


class _Unpadded(nn.Module):
    """Takes the inputs in order, as the exporter names them; none of their ids is padding."""

    def __init__(self, classifier: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.classifier = classifier
        self.names = names

    def forward(self, *tensors: Tensor) -> Tensor:
        mask = torch.ones_like(tensors[0])
        return self.classifier(attention_mask=mask, **dict(zip(self.names, tensors, strict=True)))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def _replace_attention(encoder: PreTrainedModel) -> None:
    """Let attention be exported as one node, or as plain products where it cannot be."""
    # A layer that looks at its neighbourhood alone (ModernBERT) needs a mask without any padding.
    local = any(
        getattr(encoder.config, name, None) for name in ("local_attention", "sliding_window")
    )
    if not local and hasattr(torch.onnx, "ops"):  # torch 2.8
        AttentionInterface.register(_ONE_NODE, _attention)
        # An encoder may refuse a replacement.
        with contextlib.suppress(ValueError, ImportError):
            encoder.set_attn_implementation(_ONE_NODE)
            return
    # Fused attention is traced with guards against rows of padding alone, which no window is.
    encoder.set_attn_implementation("eager")


def _attention(  # noqa: PLR0917  # the interface passes these by place
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention of `(batch, heads, tokens, width)` as the interface of transformers asks for it.

    Returns:
        `(batch, tokens, heads, width)`, and no weights.
    """
    del module
    batch, heads, tokens, width = query.shape
    if attention_mask is not None or key.shape != query.shape or value.shape != query.shape:
        whole = scaled_dot_product_attention(
            query, key, value, attention_mask, scale=scaling, enable_gqa=key.shape != query.shape
        )
        return whole.transpose(1, 2), None
    flat = [each.transpose(1, 2).reshape(batch, tokens, -1) for each in (query, key, value)]
    together = torch.onnx.ops.symbolic(
        f"com.microsoft::{_NODE}",
        flat,
        {"num_heads": heads, "scale": float(scaling or width**-0.5)},
        dtype=query.dtype,
        shape=flat[0].shape,
        version=1,
    )
    return together.view(batch, tokens, heads, width), None


def _join_reshapes(graph: onnx.GraphProto) -> None:
    """Take away the cutting into heads and back around the nodes that do it themselves."""
    made = {output: node for node in graph.node for output in node.output}
    read: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            read.setdefault(name, []).append(node)
    for node in graph.node:
        if node.op_type != _NODE:
            continue
        for place, name in enumerate(node.input):
            source = name
            while source in made and made[source].op_type == "Reshape":
                source = made[source].input[0]
            # What a linear layer gives is `(batch, tokens, width)`, as the node wants it.
            if source in made and made[source].op_type in ("Add", "MatMul"):
                node.input[place] = source
        last = node.output[0]
        while [each.op_type for each in read[last]] == ["Reshape"]:
            last = read[last][0].output[0]
        if all(reader.op_type == "MatMul" for reader in read[last]):
            for reader in read[last]:
                reader.input[:] = [
                    node.output[0] if name == last else name for name in reader.input
                ]
    drop_unused(graph)


def forget_tracing(graph: onnx.GraphProto) -> None:
    """Remove what the exporter notes of every node: stack traces, with paths of this machine."""
    values = (*graph.value_info, *graph.input, *graph.output, *graph.initializer)
    for part in (graph, *graph.node, *values):
        del part.metadata_props[:]


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and weights that no output needs."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(_reads(node))
            kept.append(node)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, in the branches of a condition too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _reads(inner)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' chatter, which goes to loggers and to standard output."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as sink, contextlib.redirect_stdout(sink):
            yield
    finally:
        logging.disable(before)
