"""A refusal has the shape, status and headers that the caller's SDK turns into its own error."""

from __future__ import annotations

import json

import pytest

from bertguard.segments import Channel, Role
from bertguard.verdict import Action, Finding, Verdict
from bertguard.wire.refusal import refuse, too_large
from bertguard.wire.request import read_request

FINDING = Finding(
    Action.BLOCK,
    0.99,
    0.9,
    Channel.PROMPT,
    Role.USER,
    pointer="/messages/0/content",
    start=0,
    end=9,
)


def verdict(dialect: str = "openai.chat", *, unscanned: str = "", found: bool = True) -> Verdict:
    return Verdict(
        action=Action.BLOCK,
        score=0.99 if found else 0.0,
        threshold=0.9,
        findings=(FINDING,) if found else (),
        unscanned=(unscanned,) if unscanned else (),
        scanned_chars=10,
        total_chars=10,
        model_id="m",
        dialect=dialect,
    )


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("openai.chat", ("error", "code")),
        ("openai.responses", ("error", "code")),
        ("anthropic.messages", ("error", "code")),
        ("gemini.generate", ("error", "details", 0, "reason")),
        ("ollama.chat", ("code",)),
        ("cohere.chat", ("code",)),
        ("bedrock.converse", ("code",)),
        ("mcp", ("error", "data", "code")),
        ("json", ("error", "code")),
    ],
)
def test_every_dialect_has_its_own_body_with_the_same_code(
    dialect: str, path: tuple[str | int, ...]
) -> None:
    """Code `content_filter`, status 400, and no second attempt."""
    refusal = refuse(verdict(dialect))
    document = json.loads(refusal.body)
    for key in path:
        document = document[key]
    assert document == "content_filter"
    headers = dict(refusal.headers)
    assert refusal.status == 400
    assert headers["x-should-retry"] == "false"
    assert headers["content-length"] == str(len(refusal.body))


@pytest.mark.parametrize(
    ("path", "body", "dialect"),
    [
        ("/v1/cachedContents", {"contents": []}, "gemini.caches"),
        ("/v1beta1/projects/p/locations/l/cachedContents/c", {"ttl": "3s"}, "gemini.caches"),
        ("/v1beta/agents", {"id": "a"}, "gemini.agents"),
        ("/v1/projects/p/locations/l/agents", {"id": "a"}, "gemini.agents"),
        ("/v1/agents", {"id": "a", "base_agent": "b"}, "gemini.agents"),
        ("/v1/agents", {"model": "m", "instructions": "i"}, "json"),  # Mistral's
        ("/v1beta/agents/completions", {"messages": []}, "openai.chat"),
    ],
)
def test_caches_and_agents_of_google_are_known(path: str, body: object, dialect: str) -> None:
    """The shape of a refusal follows from it; a path of several providers needs a key."""
    assert read_request(json.dumps(body).encode(), path=path, headers=[]).dialect == dialect


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("queue_full", 503, "guard_unavailable"),
        ("deadline", 503, "guard_unavailable"),
        ("scorer_error", 503, "guard_unavailable"),
        ("unreadable:duplicate_key", 400, "unreadable_body"),
        ("unreadable:content_encoding", 415, "unsupported_encoding"),
        ("unreadable:inflate_ratio", 400, "unreadable_body"),
        ("unreadable:inflated_size", 413, "request_too_large"),
        ("token_ids at /prompt", 400, "unscanned"),
    ],
)
def test_a_guard_that_could_not_scan_says_why(reason: str, status: int, code: str) -> None:
    """An outage is no verdict: other statuses, other codes."""
    refusal = refuse(verdict(unscanned=reason, found=False))
    assert (refusal.status, json.loads(refusal.body)["error"]["code"]) == (status, code)
    assert dict(refusal.headers)["x-should-retry"] == "false"


def test_an_injection_counts_more_than_what_was_not_scanned() -> None:
    """Both at once are a verdict."""
    assert json.loads(refuse(verdict(unscanned="queue_full")).body)["error"]["code"] == (
        "content_filter"
    )


def test_a_body_beyond_the_bound_is_told_the_bound() -> None:
    """413, in the dialect."""
    refusal = too_large(1000, "anthropic.messages")
    assert refusal.status == 413
    assert "1000 bytes" in json.loads(refusal.body)["error"]["message"]
