"""Which rows a run learns from, and which it is validated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bertguard.errors import DataError
from bertguard.training.dataset import (
    cap_per_source,
    fold_sources,
    repeat_small_sources,
    split_examples,
)
from bertguard.training.examples import (
    CORPUS,
    Example,
    Where,
    corpus_examples,
    corpus_validation,
    read_examples,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is read, what of it is left out for validation, and how much each source may count.

    Of `validation`, `validation_sources` and `fold` one at most is given; without any, texts are
    left out by their hash.

    Attributes:
        data: files and `hf:<dataset>` names; none is the corpus of the package alone.
        where: rows to keep, of `validation` too.
        validation: files to validate on; nothing of `data` is then left out.
        validation_sources: sources of the data to leave out; `CORPUS` is what the package keeps.
        fold: (K, N) leaves out the sources of part K of N.
        validation_share: the share of texts to leave out where nothing else says what.
        most: rows per source at most, by channel and label.
        least: rows per source of what is learnt from, small ones repeated, by channel and label.
        most_injection_chars: longer injections of channel data teach nothing: where in them the
            payload lies is not known.
        seed: draws the rows of large sources and the wordings of the corpus.
    """

    data: Sequence[str] = ()
    where: Where | None = None
    validation: Sequence[str] = ()
    validation_sources: Sequence[str] = ()
    fold: tuple[int, int] | None = None
    validation_share: float = 0.1
    most: Mapping[tuple[str, int], int] = field(default_factory=dict)
    least: Mapping[tuple[str, int], int] = field(default_factory=dict)
    most_injection_chars: int | None = None
    seed: int = 0

    def read(self) -> tuple[list[Example], list[Example]]:
        """(training, validation).

        Raises:
            DataError: a file or row is bad, or one side would be empty.
            ConfigurationError: there is no such fold.
        """
        training, validation = self._split()
        found = len(training)
        training = cap_per_source(
            [row for row in training if self._teaches(row)], most=self.most, seed=self.seed
        )
        if not training:
            raise DataError(_none_left(found, "to learn from"))
        return repeat_small_sources(training, least=self.least), validation

    def _split(self) -> tuple[list[Example], list[Example]]:
        if not self.data:
            training, validation = corpus_examples(
                self.seed, validation_share=self.validation_share
            )
        else:
            training, validation = read_examples(self.data, where=self.where), []
        if self.validation:
            return training, read_examples(self.validation, where=self.where)
        if not self.data:
            return training, validation
        sources = self.validation_sources
        if self.fold is not None:
            sources = fold_sources(training, fold=self.fold[0], folds=self.fold[1])
        if CORPUS in sources:
            training += corpus_validation(self.seed)  # and out again by the split
        training, validation = split_examples(
            training, validation_share=self.validation_share, validation_sources=sources
        )
        if sources:
            # A threshold must not be that of the largest source either.
            found = len(validation)
            validation = cap_per_source(validation, most=self.most, seed=self.seed)
            if not validation:
                raise DataError(_none_left(found, "to validate on"))
        return training, validation

    def _teaches(self, row: Example) -> bool:
        if self.most_injection_chars is None or row.label == 0 or row.channel == "prompt":
            return True
        return len(row.text) <= self.most_injection_chars


def _none_left(found: int, purpose: str) -> str:
    return (
        f"none of {found:,} rows is left {purpose}: --most-per-source, "
        "--most-injections-per-source or --most-injection-chars takes them all; raise it"
    )
