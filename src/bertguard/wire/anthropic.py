"""Anthropic: messages, token counts and message batches.

Source: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from bertguard.wire import openai
from bertguard.wire.collector import SYSTEM, USER, Collector, Link, word
from bertguard.wire.parts import read_content, read_part


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


def events(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/sessions/{id}/events`: turns of a person, and what tools gave back to an agent."""
    given = document.get("events")
    for number, event in enumerate(given if isinstance(given, list) else []):
        # Others than a session have events, too.
        if isinstance(event, dict) and word(event, "type").startswith(("user.", "agent.")):
            place: Link = ((link, "events"), number)
            c.turn(USER, read_part(c, event, USER, place), place)
    c.end_conversation()


def session(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """The same where the path names the session: its earlier turns are at the provider."""
    c.note("unseen_history", ":path")
    events(document, c, link)


def complete(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/complete`, the legacy text completion."""
    c.text(document, "prompt", USER, link)
