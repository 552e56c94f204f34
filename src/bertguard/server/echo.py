"""The built-in stand-in for an LLM: it repeats what reached it, in three wire formats.

It speaks OpenAI chat completions and Responses and Anthropic messages, streaming too, with the
event sequences that the SDKs of both houses parse. Whatever model is asked for, the answer says
`"model": "echo"`: nobody should take it for an LLM. It calls no tools and counts words as tokens.

Source: https://platform.openai.com/docs/api-reference and
https://docs.anthropic.com/en/api/messages-streaming for the shapes.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODEL = "echo"

# A moment before this project began: a model needs a birthday, and a constant one is honest.
_CREATED, _CREATED_AT = 1_735_689_600, "2025-01-01T00:00:00Z"

# Turns that answer nothing: the echo repeats the last turn that is none of these.
_NOT_ASKING = frozenset({"assistant", "system", "developer"})


class _BadRequestError(Exception):
    """A body that no LLM would answer either."""


def create_echo() -> Starlette:
    """The stand-in as an ASGI application."""
    return Starlette(
        routes=[
            Route("/v1/chat/completions", _chat, methods=["POST"]),
            Route("/v1/responses", _responses, methods=["POST"]),
            Route("/v1/messages", _messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", _count_tokens, methods=["POST"]),
            Route("/v1/models", _models, methods=["GET"]),
        ],
        exception_handlers={_BadRequestError: _refuse, 404: _refuse, 405: _refuse},
    )


# -- OpenAI chat completions ---------------------------------------------------------------------


async def _chat(request: Request) -> Response:
    document = await _document(request)
    asked = _last_asked(_items(document, "messages"))
    answer = _answer(asked)
    completion: dict[str, object] = {
        "id": _id("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
    }
    if document.get("stream") is True:
        options = document.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        return _sse(_chat_chunks(completion, answer, _chat_usage(asked, answer) if counted else {}))
    message = {"role": "assistant", "content": answer, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return JSONResponse({**completion, "choices": [choice], "usage": _chat_usage(asked, answer)})


def _chat_chunks(
    completion: Mapping[str, object], answer: str, usage: Mapping[str, int]
) -> Iterator[str]:
    """`data:` lines: the role, the words, the end, the usage where it was asked for, `[DONE]`."""

    def chunk(delta: Mapping[str, str], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return _event({**completion, "object": "chat.completion.chunk", "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(answer):
        yield chunk({"content": piece})
    yield chunk({}, "stop")
    if usage:
        yield _event(
            {**completion, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        )
    yield "data: [DONE]\n\n"


def _chat_usage(asked: str, answer: str) -> dict[str, int]:
    words_in, words_out = _words(asked), _words(answer)
    return {
        "prompt_tokens": words_in,
        "completion_tokens": words_out,
        "total_tokens": words_in + words_out,
    }


# -- OpenAI Responses ----------------------------------------------------------------------------


async def _responses(request: Request) -> Response:
    document = await _document(request)
    given = document.get("input")
    asked = given if isinstance(given, str) else _last_asked(_items(document, "input"))
    answer = _answer(asked)
    response: dict[str, object] = {
        "id": _id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "model": MODEL,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "output": [],
        "parallel_tool_calls": False,
        "temperature": None,
        "tool_choice": "none",
        "tools": [],
        "top_p": None,
    }
    words_in, words_out = _words(asked), _words(answer)
    usage = {
        "input_tokens": words_in,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": words_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": words_in + words_out,
    }
    part = {"type": "output_text", "text": answer, "annotations": []}
    item = {
        "id": _id("msg"),
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    completed = {**response, "status": "completed", "output": [item], "usage": usage}
    if document.get("stream") is True:
        return _sse(_response_events(response, completed, item, part))
    return JSONResponse(completed)


def _response_events(
    started: Mapping[str, object],
    completed: Mapping[str, object],
    item: Mapping[str, object],
    part: Mapping[str, object],
) -> Iterator[str]:
    """The named events of one message with one text part, numbered in order."""
    answer = str(part["text"])
    in_item = {"output_index": 0}
    in_part = {**in_item, "item_id": item["id"], "content_index": 0}
    empty_item = {**item, "status": "in_progress", "content": []}
    events: list[tuple[str, Mapping[str, object]]] = [
        ("response.created", {"response": started}),
        ("response.in_progress", {"response": started}),
        ("response.output_item.added", {**in_item, "item": empty_item}),
        ("response.content_part.added", {**in_part, "part": {**part, "text": ""}}),
        *(
            ("response.output_text.delta", {**in_part, "delta": piece, "logprobs": []})
            for piece in _pieces(answer)
        ),
        ("response.output_text.done", {**in_part, "text": answer, "logprobs": []}),
        ("response.content_part.done", {**in_part, "part": part}),
        ("response.output_item.done", {**in_item, "item": item}),
        ("response.completed", {"response": completed}),
    ]
    for number, (name, fields) in enumerate(events):
        yield _event({"type": name, "sequence_number": number, **fields}, name)


# -- Anthropic messages --------------------------------------------------------------------------


async def _messages(request: Request) -> Response:
    document = await _document(request)
    asked = _last_asked(_items(document, "messages"))
    answer = _answer(asked)
    message: dict[str, object] = {
        "id": _id("msg"),
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": _words(asked), "output_tokens": 0},
    }
    if document.get("stream") is True:
        return _sse(_message_events(message, answer))
    usage = {"input_tokens": _words(asked), "output_tokens": _words(answer)}
    content = [{"type": "text", "text": answer}]
    return JSONResponse({**message, "content": content, "stop_reason": "end_turn", "usage": usage})


def _message_events(message: Mapping[str, object], answer: str) -> Iterator[str]:
    """message_start, one content block in deltas, message_delta, message_stop."""
    events: list[Mapping[str, object]] = [
        {"type": "message_start", "message": message},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {"type": "ping"},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": piece},
            }
            for piece in _pieces(answer)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": _words(answer)},
        },
        {"type": "message_stop"},
    ]
    for event in events:
        yield _event(event, str(event["type"]))


async def _count_tokens(request: Request) -> Response:
    asked = _last_asked(_items(await _document(request), "messages"))
    return JSONResponse({"input_tokens": _words(asked)})


# -- both ----------------------------------------------------------------------------------------


async def _models(request: Request) -> Response:
    """One model, with the fields that either SDK looks for."""
    model = {
        "id": MODEL,
        "object": "model",
        "type": "model",
        "display_name": "bertguard echo (a stand-in, not an LLM)",
        "created": _CREATED,
        "created_at": _CREATED_AT,
        "lifecycle": "active",
        "owned_by": "bertguard",
    }
    page = {"has_more": False, "first_id": MODEL, "last_id": MODEL}
    return JSONResponse({"object": "list", "data": [model], **page})


async def _document(request: Request) -> Mapping[str, object]:
    try:
        document = await request.json()
    except (ValueError, RecursionError):
        raise _BadRequestError("the body is not JSON; send one JSON object") from None
    if not isinstance(document, dict):
        raise _BadRequestError("the body is not a JSON object; send one")
    return document


def _items(document: Mapping[str, object], field: str) -> Sequence[object]:
    items = document.get(field)
    if not isinstance(items, list) or not items:
        raise _BadRequestError(f'"{field}" is missing or no list; send at least one item in it')
    return items


def _last_asked(items: Sequence[object]) -> str:
    """The text of the last turn that asks for an answer: a user's turn or a tool's result."""
    for item in reversed(items):
        role = item.get("role") if isinstance(item, dict) else None
        if not isinstance(item, dict) or (isinstance(role, str) and role in _NOT_ASKING):
            continue
        if text := _text(item.get("content")) or _text(item.get("output")):
            return text
    return ""


def _text(content: object) -> str:
    """The text of a string, of a list of parts, or of a tool result with parts inside."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, map(_text, content)))
    if isinstance(content, dict):
        text = content.get("text")
        return text if isinstance(text, str) else _text(content.get("content"))
    return ""


def _answer(asked: str) -> str:
    return f"echo: {asked}"


def _pieces(answer: str) -> list[str]:
    """The answer word by word; joined they are the answer."""
    return re.findall(r"\s*\S+|\s+", answer)


def _words(text: str) -> int:
    return len(text.split())


def _id(prefix: str) -> str:
    return f"{prefix}_echo_{secrets.token_hex(8)}"


def _event(data: Mapping[str, object], name: str | None = None) -> str:
    """One server-sent event, named where the format names its events."""
    first = f"event: {name}\n" if name else ""
    return f"{first}data: {json.dumps(data)}\n\n"


def _sse(events: Iterator[str]) -> StreamingResponse:
    async def stream() -> AsyncIterator[str]:
        for event in events:
            yield event

    return StreamingResponse(
        stream(), media_type="text/event-stream", headers={"cache-control": "no-cache"}
    )


async def _refuse(request: Request, error: Exception) -> Response:
    """An error in the shape of the dialect that the path belongs to."""
    status = getattr(error, "status_code", 400)
    message = str(error) if isinstance(error, _BadRequestError) else "the echo has no such route"
    if request.url.path.startswith("/v1/messages"):
        kind = "not_found_error" if status == 404 else "invalid_request_error"
        body = {"type": "error", "error": {"type": kind, "message": message}}
    else:
        fields = {"type": "invalid_request_error", "param": None, "code": None}
        body = {"error": {"message": message, **fields}}
    return JSONResponse(body, status_code=status)
