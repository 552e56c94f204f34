"""Lines of Markdown tables, whatever the cells hold."""

from __future__ import annotations

from collections.abc import Iterable


def table_line(cells: Iterable[object]) -> str:
    """One row; a source may be named with a bar or a line end, and would else be two cells.

    Source: https://github.github.com/gfm/#tables-extension- (example 200).
    """
    return f"| {' | '.join(map(_cell, cells))} |"


def writable(text: str) -> str:
    """The text with its lone surrogates escaped, as JSON does it: no UTF-8 can hold them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cell(value: object) -> str:
    return " ".join(str(value).splitlines()).replace("|", "\\|")
