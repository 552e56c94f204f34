"""Ollama: chat, generate and embed.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from bertguard.wire import openai
from bertguard.wire.collector import ASSISTANT, EMBEDDING, SYSTEM, USER, Collector, Link
from bertguard.wire.parts import read_content


def chat(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /api/chat`."""
    openai.messages(document, c, link)
    openai.written_by_the_application(document, c)


def generate(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /api/generate`."""
    for key in ("system", "template"):
        c.text(document, key, SYSTEM, link)
    for key in ("prompt", "suffix"):
        c.text(document, key, USER, link)
    if document.get("context"):
        c.note("unseen_history", (link, "context"))
        # Token ids, which the server made of earlier turns, or so the sender says.
        c.unscan("token_ids", (link, "context"), ASSISTANT)


def embed(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /api/embed` and `/api/embeddings`."""
    for key in ("input", "prompt"):
        read_content(c, document, key, EMBEDDING, link)
