"""Rows of files and the corpus -> examples; a bad row is named by its line."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bertguard.errors import DataError
from bertguard.training.corpus import read_corpus
from bertguard.training.files import rows
from bertguard.training.labels import is_column_name, label_of

_CHANNELS = ("prompt", "data")
# What an error may repeat of a bad label or channel: words that people use for them. Where columns
# are shifted, anything else may be a prompt.
_QUOTED = frozenset(
    "tool user system assistant document context input output instruction query response "
    "unsafe harmful harmless spam ham yes no positive negative good bad clean unknown none null "
    "nan legitimate suspicious prompt_injection indirect direct".split()
)
_SPACE = re.compile(r"\s+")
# The name of the corpus among the sources that a run leaves out for validation.
CORPUS = "corpus"


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text: label 1 is an injection, 0 is benign.

    `source`, `licence`, `category` and `language` are what the file says of it, if it does;
    `place` is the file and line that say so, and no part of what an example is.
    """

    text: str
    label: int
    channel: str = "prompt"
    source: str = ""
    licence: str = ""
    category: str = ""
    language: str = ""
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Where:
    """Keep only rows whose `column` equals `value`, compared as lower-case text.

    `expected` says that a file has the column: what a recipe asks of its own data does not.
    """

    column: str
    value: str
    expected: bool = True

    @classmethod
    def parse(cls, expression: str, *, expected: bool = True) -> Where:
        """Read `column=value`.

        Raises:
            DataError: there is no "=" in it.
        """
        column, equals, value = expression.partition("=")
        if not equals or not column.strip():
            raise DataError(f"--where {expression!r}: expected COLUMN=VALUE, e.g. ship=true")
        return cls(column.strip(), value.strip().lower(), expected)

    def keeps(self, row: Mapping[str, object]) -> bool:
        """True for a row without the column: a file that does not know it is taken whole."""
        return self.column not in row or str(row[self.column]).strip().lower() == self.value


def read_examples(places: Sequence[str], *, where: Where | None = None) -> list[Example]:
    """Every example of the given files (JSONL, CSV, Parquet) and `hf:<dataset>` names.

    Columns: `text`, `label` (0/1, benign/injection; a ClassLabel by its names), optional `channel`
    (prompt/data), `source` (default: the file's name) and `license` (for the model card).

    Raises:
        DataError: a file cannot be read, a row is bad (the message names file and line), or no
            file has the column that `where` expects.
    """
    examples = []
    known = where is None or not where.expected
    found = 0
    for place in places:
        default_source = place if place.startswith("hf:") else Path(place).stem
        for line, row in rows(place):
            found += 1
            known = known or (where is not None and where.column in row)
            if where is None or where.keeps(row):
                examples.append(_example(row, f"{place}:{line}", default_source))
    if not found:
        raise DataError(f"{', '.join(places)}: no rows in it")
    if where is not None and not known:
        raise DataError(
            f"{', '.join(places)}: no column {where.column!r}, so --where would keep every row"
        )
    if where is not None and not examples:
        raise DataError(f"{', '.join(places)}: no row has {where.column}={where.value}")
    return examples


def corpus_examples(
    seed: int, *, wordings: int = 6, validation_share: float = 0.1
) -> tuple[list[Example], list[Example]]:
    """(training, validation) from the corpus of the package; the language is the source.

    A seed is a family of texts: `wordings` draws of each are trained on, copies left out, and one
    is validated on. A family stays on one side whole.
    """
    rng = random.Random(f"corpus:{seed}")
    training: list[Example] = []
    validation: list[Example] = []
    known: set[tuple[str, str]] = set()  # two families may meet in one wording
    for line in read_corpus():
        held_out = line.held_out or text_share(line.text) < validation_share
        for _ in range(1 if held_out else wordings):
            text = line.spoken(rng)
            if (text, line.channel) not in known:
                known.add((text, line.channel))
                (validation if held_out else training).append(
                    Example(text, line.label, line.channel, f"corpus.{line.language}", "Apache-2.0")
                )
    return training, validation


def corpus_validation(seed: int) -> list[Example]:
    """What the corpus keeps to choose by, one wording of each seed; the source is `corpus`."""
    rng = random.Random(f"corpus validation:{seed}")
    return [
        Example(line.spoken(rng), line.label, line.channel, CORPUS, "Apache-2.0")
        for line in read_corpus()
        if line.held_out
    ]


def _example(row: Mapping[str, object], place: str, default_source: str) -> Example:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        found = "only blanks" if text else "nothing"
        if text is not None and not isinstance(text, str):
            found = type(text).__name__
        raise DataError(
            f'{place}: "text" holds {found}, expected a text that is not blank'
            + _columns(row, "text")
        )
    raw = row.get("label")
    label = label_of(raw)
    if label is None:
        raise DataError(
            f'{place}: "label" is {_shown(raw)}, expected 0 or benign, 1 or injection'
            + _columns(row, "label")
        )
    channel = row.get("channel") or "prompt"
    if channel not in _CHANNELS:
        raise DataError(f'{place}: "channel" is {_shown(channel)}, expected "prompt" or "data"')
    source = row.get("source") or default_source
    licence, category, language = (
        str(row.get(name) or "") for name in ("license", "category", "lang")
    )
    return Example(text, label, str(channel), str(source), licence, category, language, place)


def _shown(value: object) -> str:
    """A bad value as an error may show it: numbers and known words, of others kind and length."""
    written = str(value)
    if value is None or isinstance(value, bool):
        return written
    if not isinstance(value, str | int | float):
        return type(value).__name__
    if written.lower() in _QUOTED or (len(written) <= 4 and re.fullmatch(r"-?[0-9.]+", written)):
        return repr(value)
    return f"{type(value).__name__} of {len(written)} characters"


def _columns(row: Mapping[str, object], wanted: str) -> str:
    """Which columns there are instead, where the wanted one is missing."""
    if wanted in row:
        return ""
    if all(map(is_column_name, row)):
        return f'; expected the columns "text" and "label", found {", ".join(row) or "none"}'
    # The first line of a file without a header is a row, and its text a prompt.
    return (
        f'; expected the columns "text" and "label", found {len(row)} whose names look like no '
        "names: does the file have a header?"
    )


def data_hash(examples: Iterable[Example]) -> str:
    """SHA-256 over the examples in order: what a model card names as its training data."""
    digest = hashlib.sha256()
    for example in examples:
        for part in (example.text, str(example.label), example.channel, example.source):
            digest.update(part.encode("utf-8", "surrogatepass"))
            digest.update(b"\x00")
    return digest.hexdigest()


def text_share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, whatever its case and spacing."""
    return int.from_bytes(text_key(text)[:8], "big") / 2**64


def text_key(text: str) -> bytes:
    """What texts have in common that differ in case and spacing alone."""
    normalised = _SPACE.sub(" ", text).strip().casefold()
    return hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).digest()
