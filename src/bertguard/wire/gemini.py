"""Gemini: generateContent, its streaming, batch and live forms, caches, agents, embeddings.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from bertguard.wire import openai
from bertguard.wire.collector import (
    ASSISTANT,
    DEFINITION,
    DEVELOPER,
    EMBEDDING,
    SYSTEM,
    TOOL_DATA,
    USER,
    Collector,
    Link,
    word,
)
from bertguard.wire.parts import read_content, read_part


def generate(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST …:generateContent`, `:streamGenerateContent`, `:countTokens`, `…/cachedContents`."""
    for key in ("systemInstruction", "system_instruction"):
        value = document.get(key)
        if isinstance(value, str):
            c.text(document, key, SYSTEM, link)
        elif isinstance(value, dict):
            _content(value, c, (link, key), role="system")
    contents = document.get("contents", document.get("content"))
    key = "contents" if "contents" in document else "content"
    if isinstance(contents, str):
        c.text(document, key, USER, link)
    for number, content in enumerate(contents if isinstance(contents, list) else [contents]):
        place: Link = ((link, key), number) if isinstance(contents, list) else (link, key)
        if isinstance(content, dict):
            _content(content, c, place)
    c.end_conversation()
    c.region(document.get("tools"), DEFINITION)
    for key in ("generationConfig", "generation_config", "toolConfig"):
        c.region(document.get(key), DEVELOPER)
    if document.get("cachedContent"):
        c.note("unseen_history", (link, "cachedContent"))
    nested = document.get("generateContentRequest")
    if isinstance(nested, dict):
        generate(nested, c, (link, "generateContentRequest"))


def live(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """A frame of a Live session. Source: https://ai.google.dev/api/live."""
    setup = document.get("setup")
    if isinstance(setup, dict):
        generate(setup, c, (link, "setup"))
        for key in ("sessionResumption", "session_resumption"):
            if setup.get(key):
                c.note("unseen_history", ((link, "setup"), key))
    frame(document, c, link)


def frame(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """A later frame of a Live session, which nothing of the application's is in."""
    for key in ("clientContent", "client_content"):
        inner = document.get(key)
        turns = inner.get("turns") if isinstance(inner, dict) else None
        for number, turn in enumerate(turns if isinstance(turns, list) else []):
            if isinstance(turn, dict):
                _content(turn, c, (((link, key), "turns"), number))
        c.end_conversation()
    for key in ("realtimeInput", "realtime_input"):
        inner = document.get(key)
        if isinstance(inner, dict):
            c.text(inner, "text", USER, (link, key))
    for key in ("toolResponse", "tool_response"):
        c.region(document.get(key), TOOL_DATA)


def interactions(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1beta/interactions`: items like those of OpenAI's responses."""
    c.text(document, "system_instruction", SYSTEM, link)
    openai.items(document, c, link)
    openai.written_by_the_application(document, c)
    c.region(document.get("generation_config"), DEVELOPER)


def agent(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1beta/agents`: what an agent is told, and its tools."""
    c.text(document, "system_instruction", SYSTEM, link)
    openai.written_by_the_application(document, c)


def batch(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST …:batchGenerateContent`: the requests inside, each as one of its own."""
    for holder, place in _requests(document, link):
        generate(holder, c, place)


def embed(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST …:embedContent` and `:batchEmbedContents`: texts that nobody follows."""
    for holder, place in _requests(document, link):
        for key in ("content", "contents"):
            content = holder.get(key)
            c.region(content, EMBEDDING)
            if isinstance(content, dict):
                read_content(c, content, "parts", EMBEDDING, (place, key))


def _requests(value: object, link: Link) -> list[tuple[dict[str, object], Link]]:
    """Every object below that has `contents`, at the few places where the API puts them."""
    found: list[tuple[dict[str, object], Link]] = []
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += _requests(item, (link, number))
    elif isinstance(value, dict):
        if "contents" in value or "content" in value:
            return [(value, link)]
        for key in ("batch", "inputConfig", "input_config", "requests", "request"):
            if key in value:
                found += _requests(value[key], (link, key))
    return found


def _content(content: dict[str, object], c: Collector, link: Link, *, role: str = "") -> None:
    voice = openai.VOICES.get(role or word(content, "role"), USER)
    c.region(content, voice)
    parts = content.get("parts")
    texts: list[str] = []
    listed = parts if isinstance(parts, list) else [parts]
    for number, part in enumerate(listed):
        place: Link = ((link, "parts"), number) if isinstance(parts, list) else (link, "parts")
        if isinstance(part, str) and isinstance(parts, list):
            c.text(parts, number, voice, (link, "parts"))
            texts.append(part)
        elif isinstance(part, dict):
            for key in ("functionCall", "function_call", "executableCode"):
                c.region(part.get(key), ASSISTANT)
            for key in ("functionResponse", "function_response", "toolResponse", "tool_response",
                        "codeExecutionResult", "code_execution_result"):  # fmt: skip
                c.region(part.get(key), TOOL_DATA)
            texts += read_part(c, part, voice, place)
    c.join(texts, voice, (link, "parts"))
    c.turn(voice, texts, link)
