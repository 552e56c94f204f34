"""What people write for the two labels, in rows and as the names of a dataset's classes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from bertguard.errors import DataError

LABELS = {
    "0": 0, "1": 1, "benign": 0, "injection": 1, "false": 0, "true": 1, "safe": 0,
    "jailbreak": 1, "attack": 1, "malicious": 1,
}  # fmt: skip
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_SHOWN_NAMES = 20


def label_of(value: object) -> int | None:
    """1 for an injection, 0 for what is benign, None for a value that is neither."""
    return LABELS.get(str(value).strip().lower().removesuffix(".0"))


def is_column_name(name: str) -> bool:
    """Whether it can be shown: in a file without a header a text stands where names should."""
    return _COLUMN.fullmatch(name) is not None and name.lower() not in LABELS


def schema_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, Sequence[str]]:
    """The class names of each ClassLabel column, as `datasets` writes them beside a table."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def must_be_labels(place: str, names: Mapping[str, Sequence[str]]) -> None:
    """Raises DataError where classes have names that say nothing of benign and injection.

    Their numbers say nothing either: which of two classes comes first is the dataset's own choice.
    """
    unknown = [name for name in names.get("label", ()) if label_of(name) is None]
    if unknown:
        listed = ", ".join(repr(name[:40]) for name in unknown[:_SHOWN_NAMES])
        raise DataError(
            f'{place}: the classes of "label" have names that are not known: {listed}; expected '
            "benign and injection (or 0 and 1, false and true, safe and attack): rename them"
        )


def by_name(row: Mapping[str, object], names: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """A row with the names of its classes in place of their numbers; -1 is a missing one."""
    named = dict(row)
    for column, words in names.items():
        value = named.get(column)
        if isinstance(value, int):
            named[column] = words[value] if 0 <= value < len(words) else None
    return named
