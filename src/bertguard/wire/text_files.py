"""Which files are text by what is told of them."""

from __future__ import annotations

_TYPES = frozenset(
    {
        "application/csv", "application/javascript", "application/json", "application/jsonl",
        "application/x-ndjson", "application/x-yaml", "application/xml", "application/yaml",
    }
)  # fmt: skip
_ENDINGS = frozenset(
    {
        "css", "csv", "htm", "html", "ini", "js", "json", "jsonl", "log", "markdown", "md",
        "ndjson", "py", "rst", "sql", "srt", "tex", "text", "toml", "tsv", "txt", "vtt", "xml",
        "yaml", "yml",
    }
)  # fmt: skip


def says_text(kind: str, name: str = "") -> bool:
    """Whether a file is text by its media type or by the end of its name."""
    ending = name.lower().rpartition(".")[2]
    return kind.startswith("text/") or kind in _TYPES or ending in _ENDINGS
