"""What a checkpoint was made from, told once.

A manifest holds the whole family tree of its weights. A run that is an ancestor of several parts of
a mean would stand in it several times, and twice as often in the mean of means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
"""A run (`command`, rows, sources; `goes_on_from` a record) or a mean (`mean_of` records)."""

TOLD = "told_above"
"""The key of a record that stands in whole further up, as the model card reads the tree."""


def told_once(record: Record) -> dict[str, Any]:
    """The tree with every record whole where it comes first, and by name and command after that."""
    return _told_once(record, set())


def _told_once(record: Record, told: set[str]) -> dict[str, Any]:
    written = json.dumps(record, sort_keys=True)
    if written in told:
        short = {key: record[key] for key in ("name", "command") if key in record}
        return {**short, TOLD: True}
    told.add(written)
    found = dict(record)
    if isinstance(before := record.get("goes_on_from"), Mapping):
        found["goes_on_from"] = _told_once(before, told)
    if isinstance(parts := record.get("mean_of"), list):
        found["mean_of"] = [_told_once(part, told) for part in parts]
    return found
