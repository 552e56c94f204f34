"""Anthropic: messages, token counts and message batches.

Source: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from bertguard.wire import openai
from bertguard.wire.collector import SYSTEM, USER, Collector, Link
from bertguard.wire.parts import read_content


def messages(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/messages` and `/v1/messages/count_tokens`."""
    read_content(c, document, "system", SYSTEM, link)
    openai.messages(document, c, link)
    openai.written_by_the_application(document, c)


def batches(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/messages/batches`: each request is a message of its own."""
    requests = document.get("requests")
    for number, request in enumerate(requests if isinstance(requests, list) else []):
        params = request.get("params") if isinstance(request, dict) else None
        if isinstance(params, dict):
            messages(params, c, (((link, "requests"), number), "params"))


def complete(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/complete`, the legacy text completion."""
    c.text(document, "prompt", USER, link)
