"""The model card of a checkpoint, from its manifest alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bertguard.model.checkpoint import Manifest
from bertguard.training.calibration import BLOCK_RATE, FLAG_RATE
from bertguard.training.lineage import mostly_english, training_data
from bertguard.training.markdown import table_line, writable


def model_card(manifest: Manifest) -> str:
    """The card of a checkpoint, after Mitchell et al. 2019, https://arxiv.org/abs/1810.03993.

    A lone surrogate, as in a source that is no UTF-8, is escaped: the card can be written.
    """
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
        *training_data(manifest.training),
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
            f"{flag_at:.6g}",
            _interval(behind.get("flag_interval")),
            f"{block_at:.6g}",
            _interval(behind.get("block_interval")),
            f"{manifest.temperature[channel]:.3f}{_whose(behind)}",
            _texts_behind(behind),
        )
        lines.append(table_line(cells))
    lines += [
        "",
        f"{_rates(manifest)} of the benign validation texts, where there were enough of them to "
        "say so; the shares are 95% intervals. Scores are probabilities where a share of "
        f"{manifest.prior:g} of the texts are injections.",
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
        "`guard evaluate` shows each apart. "
        + ("Mostly English was learnt. " if mostly_english(manifest.training) else "")
        + "A score is a ranking, not "
        "a certainty, and texts unlike the training data are judged worse. People who write about "
        "security, play roles or use few words are flagged more often than others; measure on "
        "your own traffic, set thresholds by it (`guard calibrate`), and retrain (`guard train`).",
        "",
    ]
    return writable("\n".join(lines))


def _whose(calibration: Mapping[str, object]) -> str:
    """What is to be known of a temperature, where it was not simply fitted."""
    if calibration.get("temperature_fitted") is False:
        return " (not fitted)"
    return " (bound of the fit)" if calibration.get("temperature_at_bound") else ""


def _texts_behind(calibration: Mapping[str, object]) -> str:
    """How many benign texts set the thresholds of a channel; where too few, they set none."""
    texts = calibration.get("benign_texts", "?")
    if calibration.get("thresholds_fitted") is False:
        return f"none ({texts} were too few)"
    return f"{texts}"


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
