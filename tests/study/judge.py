"""Checkpoints side by side on left-out texts: the figures that training/README.md chooses by.

    python tests/study/judge.py SHARED_DATA NAME=CHECKPOINT[+CHECKPOINT…] …

SHARED_DATA is the folder of train_pool.parquet and extra_pool.parquet. `A+B` is the mean of the
weights of A and B. Texts are scored as written, every window, in bf16 where training takes it, else
in fp32; the score of a text is its worst window's. Nothing of `public_eval` is read.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy
from accelerate import Accelerator

from bertguard.model.checkpoint import TOKENIZER, read_manifest
from bertguard.model.loading import find_checkpoint
from bertguard.model.tokenization import WindowTokenizer
from bertguard.model.torch_scorer import load_classifier
from bertguard.training.augment import Augmentation, TrainingText, epoch_texts
from bertguard.training.averaging import mean_weights
from bertguard.training.corpus import read_corpus
from bertguard.training.dataset import cap_per_source
from bertguard.training.examples import Where, read_examples
from bertguard.training.loop import in_bf16
from bertguard.training.metrics import ranking, threshold_at
from bertguard.training.recipes import read_recipe
from bertguard.training.settings import Settings
from bertguard.training.validation import Validator

# Categories of the corpus by which the sections from "Touchy innocent prompts" on judge as well.
_FOURTH_HAND = ("touchy", "whole-documents-2")

_KINDS = [(channel, label) for channel in ("prompt", "data") for label in (0, 1)]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The texts, and for each the groups that it counts in."""

    texts: list[TrainingText]
    groups: list[frozenset[str]]

    def places(self, group: str) -> numpy.ndarray:
        """Which texts are in a group."""
        return numpy.array([group in own for own in self.groups])


def left_out(data: Path) -> LeftOut:
    """Sources that no recipe trains on, texts composed from them, and what the corpus keeps."""
    sources = set(cast("list[str]", read_recipe("wide")["validation_source"]))
    files = [str(data / name) for name in ("train_pool.parquet", "extra_pool.parquet")]
    rows = [
        row for row in read_examples(files, where=Where.parse("ship=true")) if row.source in sources
    ]
    found: defaultdict[TrainingText, set[str]] = defaultdict(set)

    def add(texts: Iterable[TrainingText], *groups: str) -> None:
        for text in texts:
            found[text].update(groups)

    hundred = cap_per_source(rows, most=dict.fromkeys(_KINDS, 100), seed=0)
    benign = [row for row in rows if row.label == 0]
    natural = cap_per_source(benign, most=dict.fromkeys(_KINDS, 250), seed=0)
    add((TrainingText(row.text, row.label, row.channel) for row in hundred), "left out")
    add((TrainingText(row.text, row.label, row.channel) for row in natural), "natural")
    add(epoch_texts(natural, Augmentation(composed=800), seed=0, epoch=-1)[len(natural) :],
        "left out")  # fmt: skip
    for seed in read_corpus():
        if not seed.held_out:
            continue
        text = TrainingText(seed.text, seed.label, seed.channel)
        if seed.category in ("pairs", "pairs-2", "tool-results-twins", *_FOURTH_HAND):
            add([text], f"{seed.category} {seed.channel}")
        elif seed.language != "en":
            add([text], "left out", f"languages {seed.channel}")
        else:
            add([text], "left out", f"hand {seed.channel}")
    return LeftOut(list(found), [frozenset(groups) for groups in found.values()])


def figures(texts: LeftOut, margins: Sequence[float]) -> dict[str, float]:
    """The terms of the rule, each between 0 and 1, and their sum."""
    values = numpy.asarray(margins)
    labels = numpy.array([text.label for text in texts.texts])
    channels = numpy.array([text.channel for text in texts.texts])
    found: dict[str, float] = {}
    for channel in ("prompt", "data"):
        here = texts.places("left out") & (channels == channel)
        found |= {
            f"{channel} {name}": float(value or 0)
            for name, value in ranking(labels[here].tolist(), values[here].tolist()).items()
            if name not in ("injections", "benign")
        }
    for group in (
        "hand data", "languages prompt", "languages data", "tool-results-twins data",
        "pairs data", "pairs-2 prompt", "pairs-2 data",
        "touchy prompt", "whole-documents-2 data",
    ):  # fmt: skip
        here = texts.places(group)
        if here.any():
            ranks = ranking(labels[here].tolist(), values[here].tolist())
            found[group] = float(ranks["roc_auc"] or 0)
    for channel in ("prompt", "data"):
        benign = numpy.sort(values[texts.places("natural") & (channels == channel)])
        for name, rate in (("flagged", 0.01), ("blocked", 0.001)):
            threshold = threshold_at(benign, rate)
            kinds = ("pairs", "pairs-2", "languages", *_FOURTH_HAND)
            for group in ("left out", *(f"{kind} {channel}" for kind in kinds)):
                here = texts.places(group) & (channels == channel) & (labels == 1)
                if here.any():
                    found[f"{group} {channel} {name}"] = float((values[here] > threshold).mean())
            for kind in _FOURTH_HAND:
                here = texts.places(f"{kind} {channel}") & (channels == channel) & (labels == 0)
                if here.any():
                    share = float((values[here] <= threshold).mean())
                    found[f"{kind} {channel} innocent not {name}"] = share
    return found | {"sum": sum(found.values())}


class Judge:
    """Scores the left-out texts with one set of weights after another."""

    def __init__(self, texts: LeftOut, like: Path, accelerator: Accelerator) -> None:
        self._texts = texts
        manifest = read_manifest(like)
        self._device = accelerator.device
        self._validator = Validator(
            texts.texts,
            WindowTokenizer.from_checkpoint(like, manifest),
            manifest,
            accelerator,
            bf16=in_bf16(Settings(), accelerator.device),
        )

    def margins(self, directories: Sequence[Path]) -> list[float]:
        """The margin of every text by the mean of the weights."""
        first = directories[0]
        classifier = load_classifier(first, read_manifest(first))
        classifier.load_state_dict(mean_weights(directories))
        scored = self._validator(classifier.to(self._device))
        return [text.margin for text in scored]

    def figures(self, directories: Sequence[Path]) -> dict[str, float]:
        """The terms of the rule for the mean of the weights."""
        return figures(self._texts, self.margins(directories))


def main(arguments: Sequence[str]) -> None:
    data, *candidates = arguments
    texts = left_out(Path(data))
    sys.stderr.write(f"{len(texts.texts)} texts\n")
    judges: dict[str, Judge] = {}
    for candidate in candidates:
        name, _, parts = candidate.rpartition("=")
        directories = [find_checkpoint(part) for part in parts.split("+")]
        # Texts are cut into windows once for all that cut them alike.
        vocabulary = str(read_manifest(directories[0]).files[TOKENIZER])
        judge = judges.get(vocabulary) or Judge(texts, directories[0], Accelerator())
        judges[vocabulary] = judge
        found = judge.figures(directories)
        rounded = {term: round(value, 4) for term, value in found.items()}
        sys.stdout.write(json.dumps({"name": name or parts, **rounded}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
