"""What the provider fetches itself is noted where the format puts it, and nowhere else."""

from __future__ import annotations

import json

import pytest

from bertguard.wire.reading import Reading
from bertguard.wire.request import read_request

ASKED = {"messages": [{"role": "user", "content": "hi"}]}
FUNCTION = {"type": "function", "function": {"name": "web_search", "parameters": {}}}


@pytest.mark.parametrize(
    "body",
    [
        {**ASKED, "tools": [FUNCTION, {"type": "web_search_20250305", "name": "web_search"}]},
        {"requests": [{"params": {**ASKED, "tools": {"x": 1, "googleSearch": {}}}}]},
        {**ASKED, "search_parameters": {"mode": "auto"}},
    ],
    ids=["beside a function", "in a batch, not in a list", "beside the tools"],
)
def test_a_hosted_tool_is_noted_at_its_place(body: dict[str, object]) -> None:
    """The request is read as ever: a note changes no action."""
    reading = _read(body)
    (note,) = [note for note in reading.notes if note.startswith("hosted_tool at ")]
    assert note.rpartition("/")[2] in ("1", "tools", "search_parameters")
    assert not reading.unscanned


@pytest.mark.parametrize(
    "body",
    [
        {**ASKED, "tools": [FUNCTION, "mcp", None]},
        {**ASKED, "tools": [], "mcp_servers": [], "data_sources": None},
        {"messages": [{"role": "tool", "content": [{"tools": [{"type": "mcp"}]}]}]},
    ],
    ids=["the application's own tool", "none", "words of a tool's result"],
)
def test_nothing_else_is(body: dict[str, object]) -> None:
    """The application runs its own tools, and what they give is sent back through the guard."""
    assert not [note for note in _read(body).notes if note.startswith("hosted_tool")]


def _read(body: object) -> Reading:
    headers = [("content-type", "application/json")]
    return read_request(json.dumps(body).encode(), path="/v1/chat/completions", headers=headers)
