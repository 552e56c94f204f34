"""Which format a request is in: by its path, and by the keys of its document."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote

from bertguard.wire import anthropic, bedrock, cohere, gemini, mcp, ollama, openai
from bertguard.wire.collector import Collector, Link

Reader = Callable[[dict[str, object], Collector, Link], None]

_PROJECT = "projects/[^/]+/locations/[^/]+/"
_DIALECTS: tuple[tuple[str, str, Reader], ...] = (
    ("ollama.embeddings", r"/api/embed(dings)?", ollama.embed),
    ("cohere.embeddings", r"/v[12]/embed", cohere.embed),
    ("gemini.embeddings", r"/models/[^/]+:(async)?(batch)?embedcontents?", gemini.embed),
    ("openai.embeddings", r"/(embeddings|moderations)", openai.inputs),
    ("openai.chat", r"/(chat|agents)/completions", openai.chat),
    ("openai.responses", r"/responses(/input_tokens|/compact)?", openai.responses),
    ("openai.threads", r"/(v1|openai)/threads/[^/]+/runs(/[^/]+(/\w+)?)?", openai.run),
    ("openai.threads", r"/threads/([^/]+/messages|runs)", openai.thread),
    ("openai.assistants", r"/(v1|openai)/assistants(/[^/]+)?", openai.thread),
    ("openai.conversations", r"/conversations/[^/]+(/items|/restart)?", openai.continued),
    ("openai.conversations", r"/conversations", openai.responses),
    ("anthropic.messages", r"/messages(/count_tokens)?", anthropic.messages),
    ("anthropic.messages", r"/models/[^/]+:(stream)?rawpredict", anthropic.messages),
    ("anthropic.batches", r"/messages/batches", anthropic.batches),
    ("anthropic.sessions", r"/v1/sessions/[^/]+/events", anthropic.session),
    ("anthropic.complete", r"/v1/complete", anthropic.complete),
    ("openai.completions", r"/completions", openai.completions),
    ("gemini.interactions", rf"/v1\w*/({_PROJECT})?interactions", gemini.interactions),
    ("gemini.agents", rf"/v1(\w+/({_PROJECT})?|/{_PROJECT})agents", gemini.agent),
    ("gemini.caches", r"/cachedcontents(/[^/]+)?", gemini.generate),
    ("gemini.batch", r"/models/[^/]+:(async)?batch\w+", gemini.batch),
    ("gemini.generate", r"/[^/]+:\w*(generate|embed|count|predict)\w*", gemini.generate),
    ("gemini.live", r"/[\w.]+\.bidigeneratecontent\w*", gemini.live),
    ("ollama.chat", r"/api/chat", ollama.chat),
    ("ollama.generate", r"/api/generate", ollama.generate),
    ("cohere.chat", r"/v[12]/chat", cohere.chat),
    ("bedrock.converse", r"/model/.+/converse(-stream)?", bedrock.converse),
    ("bedrock.invoke", r"/model/.+/invoke(-with-response-stream)?", bedrock.invoke),
    ("mcp", r"/(mcp|sse|message)", mcp.message),
)
_PATTERNS = [(name, re.compile(f".*{pattern}"), read) for name, pattern, read in _DIALECTS]
_SLASHES = re.compile("/{2,}")
_REMEMBERED_PATH_CHARS = 256
# Where texts become numbers, so that an operator may leave them unscored. An application could
# take the last word of a path for a name (`/agents/{name}`), so what stands before it counts too.
EMBEDDINGS = re.compile(
    r"(?:/[\w.~@+-]+)*"
    r"(?:/(?:v\d\w*(?:/chat)?|openai|deployments/[\w.~-]+)/(?:embeddings|moderations)"
    r"|/api/embed(?:dings)?|/v[12]/embed|/v\d\w*/models/[\w.~-]+:\w+)",
    re.IGNORECASE | re.ASCII,
)


_RESPONSES: frozenset[Reader] = frozenset({openai.responses, openai.continued, gemini.interactions})
_THREADS: frozenset[Reader] = frozenset({openai.thread, openai.run})
# By key: how it is read where the reader of the dialect (one of the last) leaves it alone.
SHAPES: tuple[tuple[str, Reader, frozenset[Reader]], ...] = (
    ("messages", openai.chat, frozenset({openai.chat, anthropic.messages, cohere.chat, ollama.chat,
                                         bedrock.converse, bedrock.invoke})),
    ("contents", gemini.generate, frozenset({gemini.generate, gemini.batch, gemini.embed})),
    ("chat_history", cohere.chat, frozenset({cohere.chat})),
    ("message", cohere.chat, frozenset({cohere.chat})),
    ("input", openai.responses, _RESPONSES | {openai.inputs}),
    ("inputs", openai.responses, _RESPONSES | {cohere.embed}),
    ("items", openai.responses, _RESPONSES),
    ("prompt", openai.completions, _RESPONSES | {openai.completions, ollama.generate,
                                                 bedrock.invoke, anthropic.complete}),
    ("jsonrpc", mcp.message, frozenset({mcp.message})),
    ("content", openai.thread, _THREADS | {gemini.embed, gemini.generate}),
    ("thread", openai.thread, _THREADS),
    ("tool_outputs", openai.thread, _THREADS),
    ("item", openai.event, frozenset({openai.event})),
    ("events", anthropic.events, frozenset({anthropic.events, anthropic.session})),
    *((key, gemini.frame, frozenset({gemini.live}))
      for key in ("clientContent", "realtimeInput", "toolResponse")),
)  # fmt: skip


def canonical_path(path: str) -> str:
    """A path as routers see it: decoded once, without dot segments, double or final slashes.

    In lower case: it recognises a dialect, it does not route.
    """
    parts: list[str] = []
    for part in _SLASHES.sub("/", unquote(path).replace("\\", "/")).split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts).lower()


def dialect_of(path: str) -> str:
    """The name of the format that a path belongs to; `json` for any other."""
    return recognise(path)[0]


def recognise(path: str) -> tuple[str, Reader | None]:
    """The dialect of a path; remembered for the few that a server is asked for all day."""
    return _recognised(path) if len(path) <= _REMEMBERED_PATH_CHARS else _match(path)


def _match(path: str) -> tuple[str, Reader | None]:
    canonical = canonical_path(path)
    for name, pattern, read in _PATTERNS:
        if pattern.fullmatch(canonical):
            return name, read
    return "json", None


_recognised = lru_cache(maxsize=128)(_match)


def by_shape(document: object) -> tuple[str, Reader | None]:
    """The dialect of a document that came to an unknown path."""
    first = document[0] if isinstance(document, list) and document else document
    if not isinstance(first, dict):
        return "json", None
    if "jsonrpc" in first:
        return "mcp", mcp.message
    if "contents" in first:
        return "json", gemini.generate
    if "chat_history" in first or ("message" in first and "messages" not in first):
        return "json", cohere.chat
    if "messages" in first:
        return "json", anthropic.messages if "system" in first else openai.chat
    if "input" in first:
        return "json", openai.responses
    if "prompt" in first:
        return "json", openai.completions
    if "base_agent" in first:
        # At the path at which Mistral and Anthropic have agents of their own.
        return "gemini.agents", gemini.agent
    return "json", None
