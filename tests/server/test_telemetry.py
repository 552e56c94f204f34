"""What operators see: real Prometheus text, real spans, real log lines, and never a prompt."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse

from bertguard.client import guarded_client
from bertguard.guard import Guard
from bertguard.middleware import GuardMiddleware
from bertguard.policy import Policy, Thresholds
from bertguard.segments import Channel, Role, Segment
from bertguard.server.app import create_app
from bertguard.server.telemetry import AuditLog, Metrics, Tracing
from bertguard.verdict import Action, Verdict
from loopback import serve
from support import ATTACK, BENIGN, KeywordScorer


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard that knows one attack."""
    with Guard(KeywordScorer()) as found:
        yield found


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, sorted labels) -> value, as a Prometheus server reads them."""
    text = metrics.exposition()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def verdicts(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    """(action, enforced, dialect) -> how many."""
    return {
        (found["action"], found["enforced"], found["dialect"]): value
        for (name, labels), value in samples(metrics).items()
        if name == "bertguard_verdicts_total" and (found := dict(labels))
    }


def test_metrics_count_every_verdict(guard: Guard) -> None:
    """Actions, findings, characters, time, score, memory and model; each text counted once."""
    metrics = Metrics(guard, CollectorRegistry())
    guard.check_sync(BENIGN)
    guard.check_sync(BENIGN)
    guard.check_segments_sync([Segment(ATTACK, Role.TOOL, Channel.DATA)])
    guard.check_body_sync(b'{"a": 1, "a": 2}', path="/v1/chat/completions")
    found = samples(metrics)
    assert verdicts(metrics) == {
        ("allow", "true", "text"): 2,
        ("block", "true", "segments"): 1,
        ("block", "true", "openai.chat"): 1,
    }
    labels = (("action", "block"), ("channel", "data"), ("view", "as_written"))
    assert found["bertguard_findings_total", labels] == 1
    assert found["bertguard_unscanned_total", (("reason", "unreadable:duplicate_key"),)] == 1
    assert found["bertguard_scanned_chars_total", ()] == 2 * len(BENIGN) + len(ATTACK)
    assert found["bertguard_check_seconds_count", ()] == 4
    assert found["bertguard_score_bucket", (("le", "0.5"),)] == 2
    assert found["bertguard_score_count", ()] == 3
    assert found["bertguard_memory_hits_total", ()] == 1
    assert found["bertguard_memory_misses_total", ()] == 2
    assert found["bertguard_memory_texts", ()] == 2
    assert found["bertguard_waiting_chars", ()] == 0
    assert found["bertguard_model", (("id", "keyword"),)] == 1


def test_memories_of_twins_are_counted_together(guard: Guard) -> None:
    """A route's own thresholds have a memory of their own; operators see the sum of both."""
    metrics = Metrics(guard, CollectorRegistry())
    twin = guard.with_policy(Policy(thresholds={Channel.PROMPT: Thresholds(0.5, 1.0)}))
    third = twin.with_policy(Policy(thresholds={Channel.PROMPT: Thresholds(0.25, 1.0)}))
    for which in (guard, twin, twin, third):
        which.check_sync(BENIGN)  # what one has seen is new to the others
    found = samples(metrics)
    assert found["bertguard_memory_hits_total", ()] == 1
    assert found["bertguard_memory_misses_total", ()] == 3
    assert found["bertguard_memory_texts", ()] == 3
    del twin, third, which
    gc.collect()
    found = samples(metrics)
    assert found["bertguard_memory_texts", ()] == 1
    assert found["bertguard_memory_misses_total", ()] == 3


async def test_what_an_edge_says_itself_is_counted_too(guard: Guard) -> None:
    """A body over the cap is never given to the guard; middleware, client and routes alike."""
    metrics = Metrics(guard, CollectorRegistry())
    shadow = Policy(mode="shadow")
    app = GuardMiddleware(
        PlainTextResponse("in"), guard, max_body_bytes=100, routes={"/shadow": shadow}
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/x", content=b"a" * 200)).status_code == 413
        assert (await client.post("/shadow", content=ATTACK)).status_code == 200
    async with guarded_client(guard, max_body_bytes=100, transport=transport) as client:
        assert (await client.post("http://test/v1/messages", content=b"a" * 200)).status_code == 413
    found = samples(metrics)
    assert found["bertguard_unscanned_total", (("reason", "too_large"),)] == 2
    assert found["bertguard_check_seconds_count", ()] == 1
    counted = verdicts(metrics)
    assert counted["block", "true", "anthropic.messages"] == 1
    assert counted["block", "false", "text"] == 1
    assert sum(counted.values()) == 3


def test_the_server_exposes_them_where_it_is_asked_to() -> None:
    """`GET /metrics` alone, in Prometheus's own content type; else the path is the upstream's."""
    guard = Guard(KeywordScorer())
    with serve(create_app(guard, metrics=Metrics(guard, CollectorRegistry()))) as url:
        httpx.post(f"{url}/v1/check", json={"text": ATTACK})
        answer = httpx.get(f"{url}/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert 'bertguard_verdicts_total{action="block",dialect="text",enforced="true"} 1.0' in (
            answer.text
        )
        assert ATTACK not in answer.text
        assert "/metrics" in httpx.get(f"{url}/").text
        assert httpx.post(f"{url}/metrics", json={"text": ATTACK}).status_code == 400
    with serve(create_app(Guard(KeywordScorer()))) as url:
        assert "bertguard_verdicts" not in httpx.get(f"{url}/metrics").text
        assert "/metrics" not in httpx.get(f"{url}/").text


async def test_a_verdict_stands_on_the_span_of_its_request(guard: Guard) -> None:
    """Two requests at once: each span has its own verdict."""
    Tracing(guard)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")

    async def ask(name: str, text: str) -> None:
        with tracer.start_as_current_span(name):
            await guard.check(text)

    await asyncio.gather(ask("attack", ATTACK), ask("benign", BENIGN))
    await guard.check(ATTACK)  # no span, nothing to say
    spans = {span.name: dict(span.attributes or {}) for span in exporter.get_finished_spans()}
    assert spans["attack"]["guard.action"] == "block"
    assert spans["attack"]["guard.pointers"] == ("",)
    assert spans["benign"]["guard.action"] == "allow"
    assert "guard.pointers" not in spans["benign"]
    assert spans["benign"]["guard.status"] == "scanned"


def test_the_audit_log_tells_what_was_not_plainly_allowed(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    """A line of JSON each, without the text; everything on request."""
    caplog.set_level(logging.INFO, "bertguard.audit")
    AuditLog(guard)
    guard.check_sync(BENIGN)
    guard.check_sync(ATTACK)
    [line] = [json.loads(record.message) for record in caplog.records]
    assert line["action"] == "block"
    assert line["time"].endswith("+00:00")
    assert ATTACK.lower() not in caplog.text.lower()
    caplog.clear()
    AuditLog(guard, everything=True)
    guard.check_sync(BENIGN)
    assert [json.loads(record.message)["action"] for record in caplog.records] == ["allow"]


def test_an_observer_that_fails_changes_no_verdict(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged by its type and name, without what it says; the others are told all the same."""
    told: list[Action] = []

    def failing(verdict: Verdict, seconds: float) -> None:
        raise ValueError(ATTACK)

    def listening(verdict: Verdict, seconds: float) -> None:
        assert seconds > 0
        told.append(verdict.action)

    guard.watch(failing)
    guard.watch(listening)
    assert guard.check_sync(ATTACK).action is Action.BLOCK
    assert guard.with_policy(Policy(mode="shadow")).check_sync(ATTACK).action is Action.BLOCK
    assert told == [Action.BLOCK, Action.BLOCK]
    assert "ValueError" in caplog.text
    assert "failing" in caplog.text
    assert ATTACK not in caplog.text
