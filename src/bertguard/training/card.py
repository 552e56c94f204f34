"""The model card of a checkpoint, from its manifest alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bertguard.model.checkpoint import Manifest
from bertguard.training.calibration import BLOCK_RATE, FLAG_RATE
from bertguard.training.history import TOLD
from bertguard.training.markdown import table_line, writable


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
            _texts_behind(behind),
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


def _training_data(facts: Mapping[str, object]) -> list[str]:
    if facts.get(TOLD):
        command = f": `{facts['command']}`" if facts.get("command") else ""
        return [f"As told above{command}.", ""]
    parts = facts.get("mean_of")
    if isinstance(parts, list):
        return [f"The weights are the mean of those of {len(parts)} runs, given below.", ""]
    # The code that ran it, where somebody wrote that down.
    code = f" (by the code of commit {facts['commit']})" if facts.get("commit") else ""
    return [
        f"Command{code}: `{facts.get('command') or 'not recorded'}`",
        "",
        f"{facts.get('rows')} rows, SHA-256 of the data `{facts.get('data_sha256')}`; "
        f"{facts.get('validation_rows')} rows for validation, {_held_out(facts)}. Hyper-parameters "
        "stand in `guard.json`.",
        "",
        *_made_up(facts.get("settings")),
        *_sources_table(facts.get("sources")),
        "",
    ]


def _held_out(facts: Mapping[str, object]) -> str:
    """Where the validation rows are from: rows of one source resemble each other."""
    learnt, left_out = facts.get("sources"), facts.get("validation_sources")
    if not isinstance(learnt, Mapping) or not isinstance(left_out, Sequence):
        return "from places that were not recorded"
    both = sum(source in learnt for source in left_out)
    if not both:
        return "from other places than the training rows"
    if both == len(left_out):
        return "from the same places as the training rows"
    return f"of whose {len(left_out)} places {both} are those of training rows as well"


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
