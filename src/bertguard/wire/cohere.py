"""Cohere: chat and embed, version 1 and 2.

Source: https://docs.cohere.com/reference/chat
"""

from __future__ import annotations

from bertguard.wire import openai
from bertguard.wire.collector import (
    ASSISTANT,
    EMBEDDING,
    SYSTEM,
    TOOL_DATA,
    UNKNOWN,
    USER,
    USER_DATA,
    Collector,
    Link,
    Voice,
    word,
)
from bertguard.wire.parts import fields_of, read_content

_VOICES: dict[str, Voice] = {
    "USER": USER,
    "CHATBOT": ASSISTANT,
    "SYSTEM": SYSTEM,
    "TOOL": TOOL_DATA,
}


def chat(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/chat` (message, chat_history, preamble) and `/v2/chat` (messages)."""
    c.text(document, "preamble", SYSTEM, link)
    history = document.get("chat_history")
    for number, turn in enumerate(history if isinstance(history, list) else []):
        if isinstance(turn, dict):
            voice = _VOICES.get(word(turn, "role").upper(), UNKNOWN)
            place: Link = ((link, "chat_history"), number)
            c.region(turn, voice)
            text = c.text(turn, "message", voice, place)
            c.turn(voice, [text] if text else [], place)
    message = c.text(document, "message", USER, link)
    if message:
        c.turn(USER, [message], link)
    openai.messages(document, c, link)
    c.end_conversation()
    _documents(document, c, link)
    c.region(document.get("tool_results"), TOOL_DATA)
    if document.get("conversation_id"):
        c.note("unseen_history", (link, "conversation_id"))
    openai.written_by_the_application(document, c)


def _documents(document: dict[str, object], c: Collector, link: Link) -> None:
    """What the sweep reads field by field, and each together: an attack may be cut between them."""
    documents = document.get("documents")
    c.region(documents, USER_DATA)
    for number, given in enumerate(documents if isinstance(documents, list) else []):
        if isinstance(given, dict):
            place: Link = ((link, "documents"), number)
            c.join(fields_of(given), USER_DATA, place)
            data = given.get("data")
            if isinstance(data, dict):
                c.join(fields_of(data), USER_DATA, (place, "data"))


def embed(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/embed` and `/v2/embed`."""
    for key in ("texts", "inputs"):
        read_content(c, document, key, EMBEDDING, link)
