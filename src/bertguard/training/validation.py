"""Validation: the margin of every left-out text, as the serving guard would see it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from bertguard.errors import CheckpointError, ScorerError
from bertguard.model.checkpoint import Manifest
from bertguard.model.tokenization import WindowTokenizer
from bertguard.model.torch_scorer import collate
from bertguard.model.writing import writing
from bertguard.scoring import Window
from bertguard.training.augment import TrainingText
from bertguard.training.dataset import token_budget_batches
from bertguard.training.resume import VALIDATION

_BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Scored:
    """One validation text: `margin` is log P(injection) - log P(anything else), its worst window's.

    Margins are before temperature and prior; `sigmoid(margin / temperature)` is the score where
    injections are as many as benign texts.
    """

    channel: str
    label: int
    margin: float
    source: str = ""


def validation_loss(scored: Sequence[Scored]) -> float:
    """Mean cross-entropy of the texts, each (channel, label) group weighing the same."""
    groups: dict[tuple[str, int], list[float]] = {}
    for text in scored:
        signed = text.margin if text.label == 1 else -text.margin
        # log(1 + exp(-signed)) without overflow.
        loss = max(-signed, 0.0) + math.log1p(math.exp(-abs(signed)))
        groups.setdefault((text.channel, text.label), []).append(loss)
    return sum(sum(losses) / len(losses) for losses in groups.values()) / len(groups)


class Validator:
    """Scores the validation texts with the model as it stands; every process takes its share."""

    def __init__(
        self,
        texts: Sequence[TrainingText],
        tokenizer: WindowTokenizer,
        manifest: Manifest,
        accelerator: Accelerator,
        *,
        bf16: bool = False,
    ) -> None:
        self._texts = texts
        self._manifest = manifest
        self._accelerator = accelerator
        self._bf16 = bf16
        cut = tokenizer.windows_of([(text.text, text.channel) for text in texts])
        items: list[tuple[int, Window]] = [
            (place, window) for place, own in enumerate(cut) for window in own
        ]
        lengths = [len(window.ids) for _, window in items]
        batches = token_budget_batches(lengths, max_tokens=_BATCH_TOKENS, seed=0)
        share = batches[accelerator.process_index :: accelerator.num_processes]
        self._batches = [[items[place] for place in batch] for batch in share]

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> list[Scored]:
        """The texts with their margins, in order.

        Raises:
            ScorerError: a margin is not finite.
        """
        model.eval()
        found: list[tuple[int, float]] = []
        for batch in self._batches:
            inputs = collate([window for _, window in batch], pad_id=self._manifest.pad_id)
            inputs = {name: value.to(self._accelerator.device) for name, value in inputs.items()}
            with autocast(self._accelerator.device, bf16=self._bf16):
                logits = model(**inputs).float()
            margins = _margins(logits, self._manifest.injection_index).tolist()
            found += zip((place for place, _ in batch), margins, strict=True)
        model.train()
        worst: dict[int, float] = {}
        for place, margin in gather_object(found):
            if not math.isfinite(margin):
                # It compares false with everything: unnoticed, the text would count as it may.
                raise ScorerError(
                    "the model gives a validation text a score that is not a number; the training "
                    "has diverged: use a lower --learning-rate, and --fresh"
                )
            worst[place] = max(margin, worst.get(place, -math.inf))
        return [
            Scored(text.channel, text.label, worst[place], text.source)
            for place, text in enumerate(self._texts)
            if place in worst
        ]


def autocast(device: torch.device, *, bf16: bool) -> torch.autocast:
    """Matrix products in bf16 where `bf16` says so, weights and sums in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


def _margins(logits: torch.Tensor, injection: int) -> torch.Tensor:
    """log P(injection) - log(1 - P(injection)), `(batch,)`."""
    others = torch.cat([logits[:, :injection], logits[:, injection + 1 :]], dim=1)
    return logits[:, injection] - torch.logsumexp(others, dim=1)


def keep(directory: Path, scored: Sequence[Scored]) -> None:
    """Remember the margins of the weights that were kept, for calibration at the end."""
    rows = [[text.channel, text.label, text.margin, text.source] for text in scored]
    with writing(directory / VALIDATION):
        (directory / VALIDATION).write_text(json.dumps(rows), encoding="utf-8")


def take(directory: Path) -> list[Scored]:
    """The remembered margins; the file stays until the run is complete (`resume.discard`).

    Raises:
        CheckpointError: it is missing or damaged.
    """
    file = directory / VALIDATION
    try:
        return [Scored(*row) for row in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{file}: the validation scores of the run cannot be read ({type(error).__name__}); "
            "pass --fresh to start over"
        ) from error
