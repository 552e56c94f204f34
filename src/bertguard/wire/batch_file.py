"""A batch file: one request a line, each with the same bookkeeping around it.

Source: https://platform.openai.com/docs/api-reference/batch/request-input
"""

from __future__ import annotations

from itertools import groupby
from typing import TypeGuard

from bertguard.errors import UnreadableError
from bertguard.wire.collector import UNKNOWN, Collector, Link, Voice, word
from bertguard.wire.json_text import parse_lines
from bertguard.wire.sweep import gather, say_short
from bertguard.wire.vocabulary import is_identifier

_BODIES = ("body", "params")
# What a line may say of itself in a few words of the format; any other value is read.
_METHODS = frozenset({"POST"})
_URLS = frozenset(
    f"{version}/{name}"
    for version in ("", "/v1")
    for name in (
        "chat/completions", "completions", "responses", "embeddings", "moderations", "messages",
        "images/generations", "images/edits", "videos", "audio/transcriptions",
        "audio/translations", "score", "rerank",
    )
)  # fmt: skip


def batch_lines(text: str) -> list[dict[str, object]] | None:
    """The requests of a batch file; None where a file is anything else."""
    if not (text.lstrip().startswith("{") and '"custom_id"' in text):
        return None
    try:
        lines = parse_lines(text)
    except UnreadableError:
        return None
    requests: list[dict[str, object]] = []
    for line in lines:
        if not (isinstance(line, dict) and "custom_id" in line):
            return None
        if not isinstance(line.get("body", line.get("params")), dict):
            return None
        requests.append(line)
    return requests


def sweep_lines(c: Collector, lines: list[dict[str, object]], link: Link) -> None:
    """What the dialects have left of a batch file.

    All the ids, in order and with nothing between them; then of the models each once, and what
    else a line says in short strings, once where other lines say the very same.
    """
    ids: list[str] = []
    # In order of their first appearance: of dictionaries the keys.
    models: dict[str, None] = {}
    others: dict[Voice, dict[tuple[str, ...], None]] = {}
    for number, line in enumerate(lines):
        place: Link = (link, number)
        for key, words in (("method", _METHODS), ("url", _URLS)):
            if word(line, key) in words:
                c.mark(line, key)
        if isinstance(line["custom_id"], str) and c.mark(line, "custom_id"):
            told = gather(c, {"custom_id": line["custom_id"]}, link=place)
            ids += told.get(UNKNOWN, ())
        for body in filter(_is_object, map(line.get, _BODIES)):
            model = word(body, "model")
            if is_identifier(model) and c.mark(body, "model"):
                models[model] = None
        for voice, texts in gather(c, line, link=place).items():
            others.setdefault(voice, {})[tuple(texts)] = None
    short = {UNKNOWN: [*(text for text, _ in groupby(ids)), *models]}
    for voice, groups in others.items():
        short.setdefault(voice, []).extend(text for group in groups for text in group)
    say_short(c, short, link)


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)
