"""MCP: JSON-RPC requests, results and batches of the Model Context Protocol.

Source: https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

from bertguard.wire import openai
from bertguard.wire.collector import SYSTEM, TOOL_DATA, USER, Collector, Link
from bertguard.wire.parts import read_content


def message(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """One JSON-RPC message: `tools/call`, `prompts/get`, `resources/read`, sampling, results."""
    params = document.get("params")
    if isinstance(params, dict):
        place: Link = (link, "params")
        # The caller's words: what a model or a person asks a tool to do.
        c.region(params, USER)
        c.text(params, "systemPrompt", SYSTEM, place)
        openai.messages(params, c, place)
        inner = params.get("message")
        if isinstance(inner, dict):  # Agent2Agent: one turn, in parts
            openai.turn(inner, c, (place, "message"))
            c.end_conversation()
            for key in ("contextId", "context_id", "taskId", "task_id", "referenceTaskIds"):
                if inner.get(key):
                    c.note("unseen_history", ((place, "message"), key))
    result = document.get("result")
    if isinstance(result, dict):
        place = (link, "result")
        # Everything that a server gives back is only read: texts, resources, structured content.
        c.region(result, TOOL_DATA)
        for key in ("content", "contents"):
            read_content(c, result, key, TOOL_DATA, place)
        for number, turn in enumerate(_list(result.get("messages"))):
            if isinstance(turn, dict):
                read_content(c, turn, "content", TOOL_DATA, ((place, "messages"), number))
    c.region(document.get("error"), TOOL_DATA)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
