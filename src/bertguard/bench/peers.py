"""Other guards' architectures with random weights: their speed does not depend on the values.

    python -m bertguard.bench.peers NAME FILE

writes one of them as an fp32 ONNX graph; in a process of its own, since an exporter takes its time
and its memory, and may fail.

Source: the model cards and config.json of protectai/deberta-v3-base-prompt-injection-v2,
leolee99/PIGuard (both microsoft/deberta-v3-base) and meta-llama/Llama-Prompt-Guard-2-22M
(microsoft/deberta-v3-xsmall, https://arxiv.org/abs/2111.09543).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bertguard.bench.texts import text_of
from bertguard.errors import MissingExtraError
from bertguard.guard import Guard

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS = (16, 64, 128, 512)
_EXPORT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes in which the peers differ; everything else is DeBERTa-v3."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int = 128_100


PEERS = {
    "DeBERTa-v3-base (PIGuard, ProtectAI, Prompt Guard 86M)": Architecture(12, 768, 12, 3072),
    "DeBERTa-v3-xsmall (Prompt Guard 2 22M)": Architecture(12, 384, 6, 1536),
}


def measure_peers(
    guard: Guard,
    rounds: int,
    *,
    tokens: tuple[int, ...] = TOKENS,
    peers: dict[str, Architecture] | None = None,
) -> list[dict[str, object]]:
    """`Guard.check` from end to end beside each peer's bare model, one text at a time.

    Milliseconds, medians of `rounds` taken in turns; `times` is peer / guard. Where ONNX cannot be
    had, `peer` says why and there are no figures.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtraError("guard bench --peers", "torch")
    rows: list[dict[str, object]] = []
    for name, architecture in (PEERS if peers is None else peers).items():
        rows += _compare(guard, f"{name}, torch", _torch(architecture), rounds, tokens)
        with tempfile.TemporaryDirectory(prefix="bertguard-peers-") as scratch:
            file = Path(scratch) / "model.onnx"
            failure = _exported(architecture, file)
            if failure:
                rows.append({"peer": f"{name}, ONNX Runtime: {failure}", **_NOTHING})
                continue
            rows += _compare(guard, f"{name}, ONNX Runtime fp32", _onnx(file), rounds, tokens)
    return rows


_NOTHING: dict[str, object] = {"tokens": "", "peer_ms": "", "guard_ms": "", "times": ""}


def _compare(
    guard: Guard,
    name: str,
    peer: Callable[[int], object],
    rounds: int,
    lengths: tuple[int, ...],
) -> list[dict[str, object]]:
    async def measure() -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for tokens in lengths:
            text = text_of(tokens)
            theirs, ours = [], []
            for number in range(rounds + 2):
                begun = time.perf_counter()
                peer(tokens)
                between = time.perf_counter()
                await guard.check(text)
                if number > 1:  # the first ones warm
                    theirs.append(between - begun)
                    ours.append(time.perf_counter() - between)
            rows.append(
                {
                    "peer": name,
                    "tokens": tokens,
                    "peer_ms": median(theirs) * 1e3,
                    "guard_ms": median(ours) * 1e3,
                    "times": median(theirs) / median(ours),
                }
            )
        return rows

    return asyncio.run(measure())


def build(architecture: Architecture) -> PreTrainedModel:
    """A DeBERTa-v3 classifier of that size, untrained."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    config = DebertaV2Config(
        vocab_size=architecture.vocabulary,
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.intermediate,
        max_position_embeddings=512,
        type_vocab_size=0,
        relative_attention=True,
        max_relative_positions=-1,
        position_biased_input=False,
        pos_att_type=["p2c", "c2p"],
    )
    # The class reads these without declaring them.
    for name, value in (
        ("position_buckets", 256),
        ("norm_rel_ebd", "layer_norm"),
        ("share_att_key", True),
    ):
        setattr(config, name, value)
    model: PreTrainedModel = DebertaV2ForSequenceClassification(config)
    model.train(False)
    return model


def _torch(architecture: Architecture) -> Callable[[int], object]:
    import torch

    model = build(architecture)

    def run(tokens: int) -> object:
        with torch.inference_mode():
            return model(
                input_ids=torch.full((1, tokens), 7), attention_mask=torch.ones(1, tokens).long()
            )

    return run


def _onnx(file: Path) -> Callable[[int], object]:
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    # As many threads as it likes: the best it can do with one text.
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(tokens: int) -> object:
        ids = np.full((1, tokens), 7, dtype=np.int64)
        return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})

    return run


def _exported(architecture: Architecture, file: Path) -> str:
    """Write the graph; what went wrong in a few words, or nothing."""
    if find_spec("onnxscript") is None:
        return 'needs the extra "train"'
    sizes = [str(getattr(architecture, name)) for name in Architecture.__slots__]
    command = [sys.executable, "-m", "bertguard.bench.peers", str(file), *sizes]
    try:
        done = subprocess.run(  # noqa: S603  # our own command
            command, capture_output=True, text=True, timeout=_EXPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no export within {_EXPORT_SECONDS} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return f"export failed with {last.partition(':')[0][:60]}"
    return ""


def _export(file: Path, architecture: Architecture) -> None:
    import warnings

    import torch

    model = build(architecture)
    model.config.return_dict = False
    ids = torch.full((1, 32), 7)
    warnings.simplefilter("ignore")
    torch.onnx.export(
        model,
        (ids, torch.ones_like(ids)),
        file,
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask")},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    _export(Path(sys.argv[1]), Architecture(*map(int, sys.argv[2:])))
