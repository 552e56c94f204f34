"""The training loop itself, for a few steps: tokens per second, padding, waiting for data."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from bertguard.errors import MissingExtraError

if TYPE_CHECKING:
    from bertguard.training.examples import Example
    from bertguard.training.loop import Step
    from bertguard.training.settings import Settings
    from bertguard.training.start import Start

# The first steps of a run are slower: memory is allocated, kernels are chosen.
_WARM_STEPS = 2
# Tokens of a text of the package's own corpus, about.
_TOKENS_PER_ROW = 24
# A backward pass is two products for each one of the forward pass.
_PASSES = 3


class _Data(NamedTuple):
    """What came before the steps: `tokens` real and `padded` ones, seconds that it took."""

    batches: int
    tokens: int
    padded: int
    seconds: float


def measure_training(
    base: str, device: str, steps: int, *, batch_tokens: int = 4096, seconds: float = 2.0
) -> dict[str, object]:
    """`train` on the package's corpus, as it is: predict, loss, gradients, update.

    `tokens_per_s` counts real tokens, over all steps but the first two; `padding_share` is what of
    a batch is padding; `waiting_share` the part of an epoch in which texts are drawn, tokenized and
    laid out while the device waits; `of_ceiling` the share of the measured matrix product in the
    loop's dtype (weight products alone, three times the forward pass).

    Raises:
        MissingExtraError: the packages for training are not installed.
    """
    if find_spec("torch") is None or find_spec("accelerate") is None:
        raise MissingExtraError("guard bench training", "train")
    import torch

    from bertguard.bench.ceiling import torch_ceiling
    from bertguard.model.torch_scorer import resolve_device
    from bertguard.training.loop import in_bf16
    from bertguard.training.settings import Settings
    from bertguard.training.start import starting_point

    where = resolve_device(device)
    dtype = "bf16" if in_bf16(Settings(), where) else "fp32"
    settings = Settings(base=base, batch_tokens=batch_tokens, learning_rate=1e-6, dtype=dtype)
    examples = _corpus(max(50, (steps + _WARM_STEPS) * batch_tokens // _TOKENS_PER_ROW))
    start = starting_point(settings)
    data = _data(settings, start, examples)
    taken = _steps(settings, examples, device)
    steady = taken[_WARM_STEPS:] or taken
    spent = sum(took for took, _ in steady)
    tokens_per_s = sum(tokens for _, tokens in steady) / spent
    epoch = data.seconds + spent / len(steady) * data.batches
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    ceiling = torch_ceiling(where, kind, seconds)
    weights = sum(
        module.weight.numel()
        for module in start.classifier.encoder.modules()
        if isinstance(module, torch.nn.Linear)
    )
    return {
        "device": str(where),
        "dtype": dtype,
        "steps": len(steady),
        "tokens_per_s": tokens_per_s,
        "ms_per_step": spent / len(steady) * 1e3,
        "padding_share": 1 - data.tokens / data.padded,
        "waiting_share": data.seconds / epoch,
        "ceiling_gops": ceiling,
        "of_ceiling": tokens_per_s * 2 * weights * _PASSES / 1e9 / ceiling,
    }


def _corpus(rows: int) -> list[Example]:
    """So many texts of the package's corpus, in all its languages, in random order."""
    from bertguard.training.corpus import read_corpus
    from bertguard.training.examples import Example

    rng = Random(0)  # noqa: S311  # an order, not a secret
    seeds = list(read_corpus())
    rng.shuffle(seeds)
    return [
        Example(seed.spoken(rng), seed.label, seed.channel)
        for seed in (seeds * (1 + rows // len(seeds)))[:rows]
    ]


def _data(settings: Settings, start: Start, examples: Sequence[Example]) -> _Data:
    """One epoch's batches, made and laid out as the loop makes them."""
    from bertguard.model.torch_scorer import collate
    from bertguard.training.augment import epoch_texts
    from bertguard.training.epoch import epoch_batches, labelled_windows

    begun = time.perf_counter()
    texts = epoch_texts(examples, settings.augmentation, seed=0, epoch=0)
    windows = labelled_windows(texts, start.tokenizer, most=settings.max_windows, rng=Random(0))  # noqa: S311  # an order
    batches = epoch_batches(windows, max_tokens=settings.batch_tokens, seed=0)
    tokens = padded = 0
    for batch in batches:
        mask = collate([item.window for item in batch], pad_id=start.manifest.pad_id)[
            "attention_mask"
        ]
        tokens += int(mask.sum())
        padded += mask.numel()
    return _Data(len(batches), tokens, padded, time.perf_counter() - begun)


def _steps(settings: Settings, examples: Sequence[Example], device: str) -> list[tuple[float, int]]:
    """Seconds and tokens of each step of a real run of one epoch, validations left out."""
    from bertguard.training.loop import train

    taken: list[tuple[float, int]] = []
    begun = time.perf_counter()

    def note(step: Step) -> None:
        nonlocal begun
        if step.validation is None:
            taken.append((time.perf_counter() - begun, step.tokens))
        begun = time.perf_counter()

    with tempfile.TemporaryDirectory(prefix="bertguard-bench-") as out:
        train(
            examples,
            examples[:16],
            settings=settings,
            out=Path(out),
            device="cpu" if device == "cpu" else "auto",
            report=note,
        )
    return taken
