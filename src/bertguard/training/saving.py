"""A trained classifier -> a checkpoint directory with manifest and model card."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from bertguard.model.checkpoint import (
    CARD,
    CONFIG,
    ONNX_INT8,
    TOKENIZER,
    WEIGHTS,
    Manifest,
    write_manifest,
)
from bertguard.model.writing import writing
from bertguard.training.augment.materials import ENGLISH_SHARE
from bertguard.training.calibration import BLOCK_RATE, Calibration, calibrate, cautious
from bertguard.training.card import model_card
from bertguard.training.examples import CORPUS, Example, data_hash
from bertguard.training.metrics import ranking, ranking_intervals
from bertguard.training.settings import Settings
from bertguard.training.start import Start, without_tokens
from bertguard.training.validation import Scored, take, validation_loss

# As people and datasets write it; what follows, as in en-US, does not matter.
_ENGLISH = frozenset({"en", "eng", "english"})


def write_weights(directory: Path, classifier: nn.Module) -> None:
    """Encoder and head of a classifier, as `save_weights` writes them."""
    save_weights(directory, classifier.state_dict())


def save_weights(directory: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Weights as fp16 safetensors: half the size, and scores move by less than 0.001.

    Raises:
        CheckpointError: the file cannot be written; the one that was there stays.
    """
    weights = {
        name: value.detach().to(device="cpu", dtype=torch.float16).contiguous()
        for name, value in state.items()
        # Counters such as position ids are rebuilt with the model.
        if value.is_floating_point()
    }
    beside = directory / f".{WEIGHTS}.part"
    with writing(directory / WEIGHTS):
        try:
            save_file(weights, beside)
            # safetensors makes private files; a checkpoint is as readable as the others in it.
            beside.chmod(0o644)
            beside.replace(directory / WEIGHTS)
        finally:
            beside.unlink(missing_ok=True)


def finish(
    directory: Path,
    start: Start,
    *,
    settings: Settings,
    training: Sequence[Example],
    validation: Sequence[Example],
    command: str,
) -> Manifest:
    """Everything beside the weights: configuration, tokenizer, manifest and model card."""
    scored = take(directory)
    prior = start.manifest.prior
    calibrations = calibrate(scored, start.manifest.temperature, prior=prior)
    empty = {
        side: count
        for side, rows in (("training", training), ("validation", validation))
        if (count := without_tokens(rows, start.tokenizer))
    }
    manifest = dataclasses.replace(
        start.manifest,
        temperature={channel: found.temperature for channel, found in calibrations.items()},
        thresholds=thresholds_after(start.manifest.thresholds, calibrations),
        calibration={channel: found.to_dict() for channel, found in calibrations.items()},
        training={
            **start.manifest.training,
            "command": command,
            "data_sha256": data_hash(training),
            "rows": len(training),
            **({"rows_without_tokens": empty} if empty else {}),
            "english_share": english_share(training, settings.augmentation.replay),
            "sources": _sources(training),
            "validation_rows": len(validation),
            "validation_sources": sorted({row.source for row in validation}),
            "settings": dataclasses.asdict(settings),
        },
        metrics={"validation": validation_metrics(scored)},
    )
    with writing(directory):
        # Those of an older training would no longer be this model.
        (directory / ONNX_INT8).unlink(missing_ok=True)
        start.classifier.encoder.config.to_json_file(directory / CONFIG)
        # Its own `save` raises plain Exceptions.
        tokenizer = start.tokenizer.tokenizer.to_str(pretty=True)
        (directory / TOKENIZER).write_text(tokenizer, encoding="utf-8")
        manifest = write_manifest(directory, manifest)
        (directory / CARD).write_text(model_card(manifest), encoding="utf-8")
    return manifest


def validation_metrics(scored: Sequence[Scored]) -> dict[str, object]:
    """Loss over all texts; ROC-AUC and recall at fixed false-positive rates, with intervals."""
    metrics: dict[str, object] = {"loss": round(validation_loss(scored), 5)}
    for channel in ("prompt", "data"):
        texts = [text for text in scored if text.channel == channel]
        labels, margins = [t.label for t in texts], [t.margin for t in texts]
        intervals = ranking_intervals(labels, margins)
        metrics[channel] = {**ranking(labels, margins), "intervals": intervals}
    return metrics


def thresholds_after(
    before: Mapping[str, tuple[float, float]], calibrations: Mapping[str, Calibration]
) -> dict[str, tuple[float, float]]:
    """Fitted thresholds; where there was too little benign text, those that were there before.

    What a few hundred texts say of blocking only ever makes it rarer; see `cautious`.
    """
    return {
        channel: before[channel]
        if found.flag_at is None or found.block_at is None
        else (
            found.flag_at,
            max(
                found.flag_at,
                cautious(found.block_at, before[channel][1], benign=found.benign, rate=BLOCK_RATE),
            ),
        )
        for channel, found in calibrations.items()
    }


def english_share(training: Sequence[Example], replay: float) -> float:
    """The share of what is learnt that is known to be English: rows may not name a language."""
    english = 0
    for row in training:
        prefix, _, language = row.source.rpartition(".")
        language = row.language or (language if prefix == CORPUS else "")
        english += language.lower().replace("_", "-").partition("-")[0] in _ENGLISH
    return round((1 - replay) * english / len(training) + replay * ENGLISH_SHARE, 4)


def _sources(training: Sequence[Example]) -> dict[str, dict[str, object]]:
    counts = Counter((row.source, row.label) for row in training)
    licences = {row.source: row.licence for row in training}
    return {
        source: {
            "injection": counts[source, 1],
            "benign": counts[source, 0],
            **({"licence": licences[source]} if licences[source] else {}),
        }
        for source in sorted(licences)
    }
