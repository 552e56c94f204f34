"""What a checkpoint was made from, told once.

A manifest holds the whole family tree of its weights. A run that is an ancestor of several parts of
a mean would stand in it several times, and twice as often in the mean of means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
"""A run (`command`, rows, sources; `goes_on_from` a record) or a mean (`mean_of` records)."""

TOLD = "told_above"
"""The key of a record that stands in whole further up; its value is the identity of that one.

Before 0.11 the value was `true`, and only a record with a command could be found again.
"""


WORDS_ADDED = "words_added"
"""The key of the record of an extension: how many rows it put behind the others."""


def identity(record: Record) -> str:
    """What a record is known by, however much of what it was made from is told elsewhere."""
    if told := record.get(TOLD):
        return str(told)
    facts = [record.get(key) for key in ("name", "command", "commit", "data_sha256", "rows")]
    parents = [identity(parent) for parent in made_from(record)]
    return hashlib.sha256(json.dumps([facts, parents]).encode()).hexdigest()[:16]


def made_from(record: Record) -> list[Record]:
    """The records of the weights that a run started from, or that a mean was taken of."""
    before, parts = record.get("goes_on_from"), record.get("mean_of")
    if isinstance(parts, list):
        return parts
    return [before] if isinstance(before, Mapping) else []


def told_once(record: Record) -> dict[str, Any]:
    """The tree with every record whole where it comes first, and by name and command after that."""
    return _told_once(record, set())


def _told_once(record: Record, told: set[str]) -> dict[str, Any]:
    known_by = identity(record)
    if record.get(TOLD) or known_by in told:
        short = {key: record[key] for key in ("name", "command") if key in record}
        return {**short, TOLD: record.get(TOLD, known_by)}
    told.add(known_by)
    found = dict(record)
    parts = [_told_once(part, told) for part in made_from(record)]
    if "mean_of" in record:
        found["mean_of"] = parts
    elif parts:
        found["goes_on_from"] = parts[0]
    return found


def words_added(record: Record) -> int:
    """How many rows the last extension behind a checkpoint added; 0 where there was none."""
    if found := record.get(WORDS_ADDED):
        return int(found)
    # The parts of a mean share their tokenizer, and with it the extension.
    return max((words_added(parent) for parent in made_from(record)), default=0)
