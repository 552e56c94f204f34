"""Labelled files, hub datasets and the corpus -> examples; a bad row is named by its line."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertguard.errors import DataError, MissingExtraError
from bertguard.training.corpus import read_corpus

_CHANNELS = ("prompt", "data")
_LABELS = {
    "0": 0, "1": 1, "benign": 0, "injection": 1, "false": 0, "true": 1, "safe": 0,
    "jailbreak": 1, "attack": 1, "malicious": 1,
}  # fmt: skip
_SPACE = re.compile(r"\s+")
# The name of the corpus among the sources that a run leaves out for validation.
CORPUS = "corpus"


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text: label 1 is an injection, 0 is benign.

    `source`, `licence`, `category` and `language` are what the file says of it, if it does.
    """

    text: str
    label: int
    channel: str = "prompt"
    source: str = ""
    licence: str = ""
    category: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """Keep only rows whose `column` equals `value`, compared as lower-case text."""

    column: str
    value: str

    @classmethod
    def parse(cls, expression: str) -> Where:
        """Read `column=value`.

        Raises:
            DataError: there is no "=" in it.
        """
        column, equals, value = expression.partition("=")
        if not equals or not column.strip():
            raise DataError(f"--where {expression!r}: expected COLUMN=VALUE, e.g. ship=true")
        return cls(column.strip(), value.strip().lower())

    def keeps(self, row: Mapping[str, object]) -> bool:
        """True for a row without the column: a file that does not know it is taken whole."""
        return self.column not in row or str(row[self.column]).strip().lower() == self.value


def read_examples(places: Sequence[str], *, where: Where | None = None) -> list[Example]:
    """Every example of the given files (JSONL, CSV, Parquet) and `hf:<dataset>` names.

    Columns: `text`, `label` (0/1, benign/injection), optional `channel` (prompt/data), `source`
    (default: the file's name) and `license` (for the model card).

    Raises:
        DataError: a file cannot be read, or a row is bad; the message names file and line.
    """
    examples = []
    for place in places:
        default_source = place if place.startswith("hf:") else Path(place).stem
        rows = _rows(place)
        for line, row in rows:
            if where is None or where.keeps(row):
                examples.append(_example(row, f"{place}:{line}", default_source))
    if not examples:
        raise DataError(f"{', '.join(places)}: no rows to learn from")
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


def _rows(place: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(line or row number, row) of one file; the first line is 1."""
    if place.startswith("hf:"):
        yield from _hub_rows(place.removeprefix("hf:"))
        return
    file = Path(place)
    reader = {
        ".jsonl": _jsonl_rows,
        ".ndjson": _jsonl_rows,
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }.get(file.suffix.lower())
    if reader is None:
        raise DataError(f"{file}: unknown kind of file; use .jsonl, .csv, .parquet or hf:<dataset>")
    try:
        yield from reader(file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({type(error).__name__}: {error})") from error


def _jsonl_rows(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    with file.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{file}:{number}: not a JSON object ({error})") from error
            if not isinstance(row, dict):
                raise DataError(
                    f"{file}:{number}: found {type(row).__name__}, expected a JSON object"
                )
            yield number, row


def _csv_rows(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    # A document in a cell may be long; the csv module stops at 128 KiB by default.
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{file}:{reader.line_num}: the row does not have the "
                        f"{len(reader.fieldnames or ())} columns of the header"
                    )
                yield reader.line_num, row
        except csv.Error as error:
            raise DataError(f"{file}:{reader.line_num}: {error}") from error


def _parquet_rows(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet files", "train") from error
    try:
        with pq.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        raise DataError(f"{file}: not a Parquet file ({error})") from error


def _hub_rows(name: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Rows of a dataset by hub id or local folder: `owner/name`, `owner/name:split`."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("hf:<dataset>", "train") from error
    path, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(path, split=split or "train")
    except Exception as error:  # the library raises many kinds
        raise DataError(
            f"hf:{name}: datasets could not load it ({type(error).__name__}: {error})"
        ) from error
    yield from enumerate(rows, start=1)


def _example(row: Mapping[str, object], place: str, default_source: str) -> Example:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        found = "nothing" if text is None or text == "" else type(text).__name__
        raise DataError(f'{place}: "text" holds {found}, expected a text that is not blank')
    raw = row.get("label")
    label = _LABELS.get(str(raw).strip().lower().removesuffix(".0"))
    if label is None:
        # A shifted column would put a prompt here, and an error never holds one.
        shown = repr(raw) if len(str(raw)) <= 16 else type(raw).__name__
        raise DataError(f'{place}: "label" is {shown}, expected 0 or benign, 1 or injection')
    channel = row.get("channel") or "prompt"
    if channel not in _CHANNELS:
        shown = repr(channel) if len(str(channel)) <= 16 else type(channel).__name__
        raise DataError(f'{place}: "channel" is {shown}, expected "prompt" or "data"')
    source = row.get("source") or default_source
    licence, category, language = (
        str(row.get(name) or "") for name in ("license", "category", "lang")
    )
    return Example(text, label, str(channel), str(source), licence, category, language)


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
    normalised = _SPACE.sub(" ", text).strip().casefold()
    digest = hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
