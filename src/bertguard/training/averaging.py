"""Several checkpoints -> one whose weights are their mean.

Runs that started from one encoder lie in one basin, and their mean often errs on fewer kinds of
text than each of them: what one run learnt by chance, another did not.

Source: "model soups", Wortsman et al. 2022, https://arxiv.org/abs/2203.05482.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from bertguard.errors import CheckpointError, ConfigurationError
from bertguard.model.checkpoint import (
    CARD,
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    Manifest,
    read_manifest,
    verified,
    write_manifest,
)
from bertguard.model.writing import whole, writing
from bertguard.training.card import model_card
from bertguard.training.history import told_once
from bertguard.training.saving import save_weights

# What two checkpoints must share for a mean of their weights to mean anything.
_SHARED = (
    "pooling", "labels", "window_tokens", "overlap_tokens", "channel", "cls_id", "sep_id", "pad_id",
)  # fmt: skip


def average(directories: Sequence[Path], out: Path) -> Manifest:
    """Write the mean of the checkpoints' weights to `out`, every checkpoint counting alike.

    Temperature and thresholds are the first one's and wait for `guard calibrate`: those of a mean
    can only be measured. Metrics and the ONNX file of the parts are not the mean's and stay away.

    Args:
        directories: two checkpoint directories or more, of one encoder, tokenizer and pooling.
        out: a new directory.

    Raises:
        CheckpointError: a directory is none, a file of it is damaged, its weights have other names
            or shapes, or the mean cannot be written; nothing is left at `out` then.
        ConfigurationError: fewer than two, `out` is there already, or the checkpoints differ in
            what must be shared.
    """
    if len(directories) < 2:
        raise ConfigurationError(f"{len(directories)} checkpoint: expected two or more to average")
    first, *others = directories
    manifests = [read_manifest(directory) for directory in directories]
    for other, manifest in zip(others, manifests[1:], strict=True):
        _must_match(first, manifests[0], other, manifest)
    parts = [{"name": one.name, **one.training} for one in manifests]
    mean = replace(manifests[0], training=told_once({"mean_of": parts}), calibration={}, metrics={})
    with whole(out) as beside:
        # Written anew, a damaged file would be vouched for by the hashes of the new manifest.
        for directory, manifest in zip(directories, manifests, strict=True):
            for name in (CONFIG, TOKENIZER, WEIGHTS):
                verified(directory, name, manifest)
        save_weights(beside, mean_weights(directories))
        with writing(out):
            for name in (CONFIG, TOKENIZER):
                shutil.copyfile(first / name, beside / name)
            written = write_manifest(beside, mean)
            (beside / CARD).write_text(model_card(written), encoding="utf-8")
    return written


def _must_match(first: Path, expected: Manifest, other: Path, found: Manifest) -> None:
    for name in _SHARED:
        here, there = getattr(expected, name), getattr(found, name)
        if here != there:
            raise ConfigurationError(f"{other}: {name} is {there}, but {here} in {first}")
    if expected.files[TOKENIZER] != found.files[TOKENIZER]:
        raise ConfigurationError(f"{other}: its {TOKENIZER} is not that of {first}")


def mean_weights(directories: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of the weights in fp32, one checkpoint in memory at a time.

    Raises:
        CheckpointError: names or shapes differ, or a file holds no weights.
    """
    total = {name: value.float() for name, value in _weights(directories[0]).items()}
    for directory in directories[1:]:
        weights = _weights(directory)
        if {n: v.shape for n, v in weights.items()} != {n: v.shape for n, v in total.items()}:
            raise CheckpointError(
                f"{directory / WEIGHTS}: its weights have other names or shapes than those of "
                f"{directories[0]}; only checkpoints of one encoder can be averaged"
            )
        for name, value in weights.items():
            total[name] += value.float()
    return {name: value / len(directories) for name, value in total.items()}


def _weights(directory: Path) -> dict[str, torch.Tensor]:
    file = directory / WEIGHTS
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: holds no weights ({type(error).__name__})") from error
