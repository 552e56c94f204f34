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
from bertguard.training.calibration import BLOCK_RATE, FLAG_RATE, Calibration, calibrate
from bertguard.training.examples import Example, data_hash
from bertguard.training.markdown import table_line, writable
from bertguard.training.metrics import ranking, ranking_intervals
from bertguard.training.settings import Settings
from bertguard.training.start import Start
from bertguard.training.validation import Scored, take, validation_loss


def write_weights(directory: Path, classifier: nn.Module) -> None:
    """Encoder and head of a classifier, as `save_weights` writes them."""
    save_weights(directory, classifier.state_dict())


def save_weights(directory: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Weights as fp16 safetensors: half the size, and scores move by less than 0.001."""
    weights = {
        name: value.detach().to(device="cpu", dtype=torch.float16).contiguous()
        for name, value in state.items()
        # Counters such as position ids are rebuilt with the model.
        if value.is_floating_point()
    }
    beside = directory / f".{WEIGHTS}.part"
    save_file(weights, beside)
    # safetensors makes private files; a checkpoint is as readable as the other files in it.
    beside.chmod(0o644)
    beside.replace(directory / WEIGHTS)


def finish(
    directory: Path,
    start: Start,
    *,
    settings: Settings,
    training: Sequence[Example],
    validation: Sequence[Example],
    command: str,
) -> Manifest:
    """Everything beside the best weights: configuration, tokenizer, manifest and model card."""
    scored = take(directory)
    calibrations = calibrate(scored)
    # Those of an older training would no longer be this model.
    (directory / ONNX_INT8).unlink(missing_ok=True)
    start.classifier.encoder.config.to_json_file(directory / CONFIG)
    start.tokenizer.tokenizer.save(str(directory / TOKENIZER))
    manifest = dataclasses.replace(
        start.manifest,
        temperature=_temperature(start.manifest, calibrations),
        thresholds=_thresholds(start.manifest.thresholds, calibrations),
        calibration={channel: found.to_dict() for channel, found in calibrations.items()},
        training={
            **start.manifest.training,
            "command": command,
            "data_sha256": data_hash(training),
            "rows": len(training),
            "sources": _sources(training),
            "validation_rows": len(validation),
            "validation_sources": sorted({row.source for row in validation}),
            "settings": dataclasses.asdict(settings),
        },
        metrics={"validation": validation_metrics(scored)},
    )
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


def _thresholds(
    before: Mapping[str, tuple[float, float]], calibrations: Mapping[str, Calibration]
) -> dict[str, tuple[float, float]]:
    """Fitted thresholds; where there was too little benign text, those that were there before."""
    return {
        channel: before[channel]
        if found.flag_at is None or found.block_at is None
        else (found.flag_at, found.block_at)
        for channel, found in calibrations.items()
    }


def _temperature(before: Manifest, calibrations: Mapping[str, Calibration]) -> dict[str, float]:
    """Beside kept thresholds stays the temperature that they were set at: they mean a pair."""
    goes_on = "goes_on_from" in before.training
    return {
        channel: before.temperature[channel]
        if goes_on and (found.flag_at is None or found.block_at is None)
        else found.temperature
        for channel, found in calibrations.items()
    }


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


def model_card(manifest: Manifest) -> str:
    """The card of a checkpoint, after Mitchell et al. 2019, https://arxiv.org/abs/1810.03993.

    A lone surrogate, as in a source that is no UTF-8, is escaped: the card can be written.
    """
    facts = manifest.training
    lines = [
        f"# {manifest.name}",
        "",
        "## Model details",
        "",
        f"A prompt-injection classifier for bertguard: {manifest.base}, {manifest.pooling} pooling "
        f"of the last hidden state, a linear head over {', '.join(manifest.labels)}. Texts are "
        f"read in windows of {manifest.window_tokens} tokens that overlap by "
        f"{manifest.overlap_tokens}; the worst window decides. The channel is "
        + (
            "carried by the segment ids."
            if manifest.channel == "token_type_ids"
            else "not told to the encoder, which has no segments."
        ),
        "",
        "## Intended use",
        "",
        "Scoring text on its way to an LLM. Channel *prompt*: an attempt to override what the "
        "model was told, to break its rules or to read them out. Channel *data*: any "
        "instruction to the model inside text that it should only read.",
        "",
        "Not for judging people or their opinions, not a moderation of topics, and no "
        "replacement for least privilege: one layer of defence among others.",
        "",
        "## Training data",
        "",
        *_training_data(facts),
        *_before(facts),
        "## Thresholds",
        "",
        "| channel | flag_at | false positives there | block_at | false positives there "
        "| temperature | benign texts behind them |",
        "|---|---|---|---|---|---|---|",
    ]
    for channel, (flag_at, block_at) in manifest.thresholds.items():
        behind = manifest.calibration.get(channel)
        behind = behind if isinstance(behind, Mapping) else {}
        cells = (
            channel,
            flag_at,
            _interval(behind.get("flag_interval")),
            block_at,
            _interval(behind.get("block_interval")),
            f"{manifest.temperature[channel]:.3f}",
            behind.get("benign_texts", "?"),
        )
        lines.append(table_line(cells))
    lines += [
        "",
        f"{_rates(manifest)} of the benign validation texts, where there were enough of them to "
        "say so; the shares are 95% intervals.",
        "",
        "## Metrics",
        "",
        "On the validation texts, which are from sources that the training never saw where such "
        "were named; 95% bootstrap intervals.",
        "",
        *_metrics_table(manifest.metrics.get("validation")),
        "",
        "## Factors and limits",
        "",
        "Language, length, the kind of document and odd ways of writing all move the score: "
        "`guard evaluate` shows each apart. Mostly English was learnt. A score is a ranking, not "
        "a certainty, and texts unlike the training data are judged worse. People who write about "
        "security, play roles or use few words are flagged more often than others; measure on "
        "your own traffic, set thresholds by it (`guard calibrate`), and retrain (`guard train`).",
        "",
    ]
    return writable("\n".join(lines))


def _rates(manifest: Manifest) -> str:
    """The shares of benign texts that the thresholds were fitted to let through."""
    said = {}
    for channel in manifest.thresholds:
        behind = manifest.calibration.get(channel)
        behind = behind if isinstance(behind, Mapping) else {}
        flag, block = behind.get("flag_rate", FLAG_RATE), behind.get("block_rate", BLOCK_RATE)
        said[channel] = (
            f"flag_at lets through {100 - 100 * flag:.6g}% and block_at {100 - 100 * block:.6g}%"
        )
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return ", ".join(f"in channel {channel} {words}" for channel, words in said.items())


def _training_data(facts: Mapping[str, object]) -> list[str]:
    parts = facts.get("mean_of")
    if isinstance(parts, list):
        return [f"The weights are the mean of those of {len(parts)} runs, given below.", ""]
    # The code that ran it, where somebody wrote that down.
    code = f" (by the code of commit {facts['commit']})" if facts.get("commit") else ""
    return [
        f"Command{code}: `{facts.get('command') or 'not recorded'}`",
        "",
        f"{facts.get('rows')} rows, SHA-256 of the data `{facts.get('data_sha256')}`; "
        f"{facts.get('validation_rows')} rows for validation, from other places than the training "
        "rows. Hyper-parameters stand in `guard.json`.",
        "",
        *_made_up(facts.get("settings")),
        *_sources_table(facts.get("sources")),
        "",
    ]


def _before(facts: Mapping[str, object]) -> list[str]:
    """What the weights come from, the last stage first: a stage before, or the runs of a mean."""
    before = facts.get("goes_on_from")
    parts = facts.get("mean_of")
    stages = [before] if isinstance(before, Mapping) else parts if isinstance(parts, list) else []
    title = "Before that" if isinstance(before, Mapping) else "One of the runs of the mean"
    lines: list[str] = []
    for stage in stages:
        lines += [f"### {title}: {stage.get('name')}", "", *_training_data(stage), *_before(stage)]
    return lines


def _made_up(settings: object) -> list[str]:
    """What an epoch holds beside the rows."""
    augmentation = settings.get("augmentation") if isinstance(settings, Mapping) else None
    if not isinstance(augmentation, Mapping) or not any(augmentation.values()):
        return []
    return [
        f"Beside them an epoch holds {augmentation.get('composed', 0)} texts composed from them "
        "(half of them indirect injections, half their benign twins) and, for "
        f"{augmentation.get('replay', 0):.0%} of the rest, texts of the package's own corpus; "
        f"{augmentation.get('obfuscated', 0):.0%} of all are written oddly, both labels alike.",
        "",
    ]


def _sources_table(sources: object) -> list[str]:
    if not isinstance(sources, Mapping):
        return []
    lines = ["| source | injection | benign | licence |", "|---|---|---|---|"]
    for source, facts in sources.items():
        counts = facts["injection"], facts["benign"]
        lines.append(table_line((source, *counts, facts.get("licence", ""))))
    return lines


def _metrics_table(metrics: object) -> list[str]:
    if not isinstance(metrics, Mapping):
        return []
    lines = [
        "| channel | injections | benign | ROC-AUC | recall at 1% FPR | at 0.1% FPR |",
        "|---|---|---|---|---|---|",
    ]
    for channel, facts in metrics.items():
        if isinstance(facts, Mapping):
            intervals = facts.get("intervals")
            intervals = intervals if isinstance(intervals, Mapping) else {}
            cells = [
                ""
                if facts.get(name) is None
                else f"{facts[name]} {_interval(intervals.get(name))}".strip()
                for name in ("injections", "benign", "roc_auc", "recall_at_1%", "recall_at_0.1%")
            ]
            lines.append(table_line((channel, *cells)))
    return lines


def _interval(interval: object) -> str:
    return f"({interval[0]}-{interval[1]})" if isinstance(interval, Sequence) else ""
