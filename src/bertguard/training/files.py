"""Files of labelled rows (JSON Lines, CSV, Parquet) and datasets of the hub -> numbered rows."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertguard.errors import DataError, MissingExtraError
from bertguard.training.labels import by_name, is_column_name, must_be_labels, schema_names


def rows(place: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(line or row number, row) of one file or `hf:<dataset>`; the first line is 1.

    Columns of the type ClassLabel of `datasets` hold the names of the classes, not their numbers.

    Raises:
        DataError: it cannot be read; the message names the file, and the line where there is one.
        MissingExtraError: a library that reads this kind of file is not installed.
    """
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
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}:{_undecodable_line(file)}: not UTF-8 text; save the file as UTF-8"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{file}: cannot be read ({reason}); check path and permissions") from error


def _jsonl_rows(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    with file.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_once)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{file}:{number}: not a JSON object ({error.msg} at character {error.pos + 1})"
                ) from error
            except (ValueError, RecursionError) as error:
                raise DataError(f"{file}:{number}: not a JSON object ({error})") from error
            if not isinstance(row, dict):
                raise DataError(
                    f"{file}:{number}: found {type(row).__name__}, expected a JSON object"
                )
            yield number, row


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON; of a key that stands twice nobody knows which value was meant."""
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError(_twice([key for key, _ in pairs], "the key"))
    return row


def _twice(names: Sequence[str], kind: str) -> str:
    """What is said of a name that stands twice; empty where none does.

    Columns without a name may be many: spreadsheets write commas to the end of the widest row.
    """
    again = next((name for name, count in Counter(names).items() if count > 1 and name), None)
    if again is None:
        return ""
    return f"{kind} {repr(again) if is_column_name(again) else 'of one name'} stands twice"


def _undecodable_line(file: Path) -> int:
    """The number of the first line that is no UTF-8: no character of several bytes holds a \\n."""
    number = 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):  # noqa: B007  # the last one, where none is
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                break
    return number


def _csv_rows(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Rows with the line that each begins on: a cell may go on over many."""
    # A document in a cell may be long; the csv module stops at 128 KiB by default.
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        first = 1
        header: list[str] = []
        try:
            for row in reader:
                if row and not header:
                    header = row
                    _must_be_commas(file, header)
                    if again := _twice([name.strip() for name in header], "the column"):
                        raise DataError(f"{file}:{first}: {again}; expected each column once")
                elif row:
                    if len(row) != len(header):
                        raise DataError(
                            f"{file}:{first}: the row that begins here has {len(row)} columns, "
                            f"the header has {len(header)}"
                        )
                    yield first, dict(zip(header, row, strict=True))
                first = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{file}:{first}: in the row that begins here: {error}") from error


def _must_be_commas(file: Path, header: list[str]) -> None:
    """One column is too few, and spreadsheets of many countries write semicolons."""
    for name, mark in (("semicolons", ";"), ("tabs", "\t")):
        if len(header) == 1 and mark in header[0]:
            raise DataError(f"{file}:1: columns set apart by {name}, expected commas")


def _parquet_rows(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet files", "train") from error
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            if again := _twice(schema.names, "the column"):
                raise DataError(f"{file}: {again}; expected each column once")
            names = schema_names(schema.metadata)
            must_be_labels(str(file), names)
            number = 0
            for batch in table.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield number, by_name(row, names) if names else row
    except pa.ArrowException as error:
        raise DataError(f"{file}: not a Parquet file ({error})") from error


def _hub_rows(name: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Rows of a dataset by hub id or local folder: `owner/name`, `owner/name:split`.

    A folder may be of `save_to_disk`, whether a dataset of one split or one of several.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("hf:<dataset>", "train") from error
    path, _, split = name.partition(":")
    try:
        rows = _hub_split(path, split)
    except Exception as error:  # the library raises many kinds
        raise DataError(f"hf:{name}: datasets could not load it ({_reasons(error)})") from error
    names = {
        column: feature.names
        for column, feature in (rows.features or {}).items()
        if isinstance(feature, datasets.ClassLabel)
    }
    must_be_labels(f"hf:{name}", names)
    for number, row in enumerate(rows, start=1):
        yield number, by_name(row, names) if names else row


def _hub_split(path: str, split: str) -> Any:
    import datasets

    if not any((Path(path) / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return datasets.load_dataset(path, split=split or "train")
    saved = datasets.load_from_disk(path)
    if isinstance(saved, datasets.DatasetDict):
        if (split or "train") not in saved:
            raise ValueError(f"no split {split or 'train'}, but {', '.join(saved)}")
        return saved[split or "train"]
    if split and str(saved.split) != split:
        raise ValueError(f"one split, {saved.split or 'without a name'}, and no {split}")
    return saved


def _reasons(error: BaseException) -> str:
    """What an error says in its first line, and what the cause of it all says.

    The cause often met a row, and may quote it: what stands in quotes there is left out.
    """
    reasons = f"{type(error).__name__}: {_first_line(error)}"
    cause = error
    while deeper := cause.__cause__ or (not cause.__suppress_context__ and cause.__context__):
        cause = deeper
    if cause is error:
        return reasons
    said = re.sub(r"""(["'`]).*\1""", "…", _first_line(cause))
    return f"{reasons}; because of {type(cause).__name__}: {said}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:200]
