"""What operators see of the verdicts: Prometheus metrics, OpenTelemetry attributes, an audit log.

Each watches a guard from the moment it is made (`Guard.watch`), wherever that guard serves: behind
`guard serve`, in a middleware or in a client. None of them holds prompt text: a verdict has none.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bertguard.errors import MissingExtraError
from bertguard.verdict import Action

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from prometheus_client import CollectorRegistry, Metric

    from bertguard.guard import Guard
    from bertguard.verdict import Verdict

__all__ = ["AuditLog", "Metrics", "Tracing"]

AUDIT_LOGGER = "bertguard.audit"

# From a cached chat to the deadline of a long document.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Fine where thresholds lie, so that a shadow run shows what another one would do.
_SCORES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 1)


class Metrics:
    """Prometheus metrics of one guard and of its twins under other policies.

    Named after https://prometheus.io/docs/practices/naming. Labels hold words
    of the guard alone (actions, dialects, reasons, views), so their number is bounded whatever is
    sent.

    Args:
        guard: the guard to watch.
        registry: where to register; None is the default registry of `prometheus_client`.

    Raises:
        MissingExtraError: `prometheus_client` is not installed.
        ValueError: the registry has the metrics of a guard already.
    """

    def __init__(self, guard: Guard, registry: CollectorRegistry | None = None) -> None:
        try:
            from prometheus_client import REGISTRY, Counter, Histogram
        except ImportError as error:
            raise MissingExtraError("Metrics", "telemetry") from error
        self.registry = registry or REGISTRY
        self._guard = guard
        self._verdicts = Counter(
            "bertguard_verdicts",
            "Verdicts, by action and by whether the policy enforces it.",
            ("action", "enforced", "dialect"),
            registry=self.registry,
        )
        self._findings = Counter(
            "bertguard_findings",
            "Places at or over a threshold, by the view in which they showed.",
            ("action", "channel", "view"),
            registry=self.registry,
        )
        self._unscanned = Counter(
            "bertguard_unscanned",
            "What could not be read or scored, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self._chars = Counter(
            "bertguard_scanned_chars", "Characters judged.", registry=self.registry
        )
        self._seconds = Histogram(
            "bertguard_check_seconds",
            "From the question to the verdict, waiting included.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._scores = Histogram(
            "bertguard_score",
            "Highest P(injection) of what was scored of a request.",
            buckets=_SCORES,
            registry=self.registry,
        )
        self.registry.register(self)
        guard.watch(self)

    def __call__(self, verdict: Verdict, seconds: float) -> None:
        """Count one verdict."""
        enforced = "true" if verdict.enforced else "false"
        self._verdicts.labels(verdict.action.value, enforced, verdict.dialect).inc()
        for finding in verdict.findings:
            self._findings.labels(finding.action.value, finding.channel.value, finding.view).inc()
        for reason in dict.fromkeys(entry.partition(" at ")[0] for entry in verdict.unscanned):
            self._unscanned.labels(reason).inc()
        self._chars.inc(verdict.scanned_chars)
        if seconds:  # an edge that refuses by itself asks nobody
            self._seconds.observe(seconds)
        if verdict.scanned_chars:
            self._scores.observe(verdict.score)

    def collect(self) -> Iterable[Metric]:
        """What the guard holds right now; asked by the registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        memory = self._guard.memory.tally
        yield CounterMetricFamily(
            "bertguard_memory_hits", "Texts that had been scored before.", memory.hits
        )
        yield CounterMetricFamily("bertguard_memory_misses", "Texts that were new.", memory.misses)
        yield GaugeMetricFamily("bertguard_memory_texts", "Texts remembered.", memory.texts)
        yield GaugeMetricFamily(
            "bertguard_waiting_chars", "Characters that wait to be scored.",
            self._guard.waiting_chars,
        )  # fmt: skip
        model = GaugeMetricFamily("bertguard_model", "The model that judges.", labels=("id",))
        model.add_metric([self._guard.model_id], 1)
        yield model

    def exposition(self) -> tuple[bytes, str]:
        """The metrics in Prometheus's text format, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class Tracing:
    """The verdict as attributes of the OpenTelemetry span in which the guard was asked.

    `guard.action`, `guard.score`, `guard.status`, `guard.dialect`, `guard.enforced` and
    `guard.seconds`; where there are any, `guard.unscanned` and `guard.pointers` (JSON pointers of
    the findings). Where no span is recording, nothing happens.

    Raises:
        MissingExtraError: `opentelemetry` is not installed.
    """

    def __init__(self, guard: Guard) -> None:
        try:
            from opentelemetry.trace import get_current_span
        except ImportError as error:
            raise MissingExtraError("Tracing", "telemetry") from error
        self._current_span = get_current_span
        guard.watch(self)

    def __call__(self, verdict: Verdict, seconds: float) -> None:
        """Describe one verdict on the span of its request."""
        span: Span = self._current_span()
        if not span.is_recording():
            return
        span.set_attribute("guard.action", verdict.action.value)
        span.set_attribute("guard.score", verdict.score)
        span.set_attribute("guard.status", verdict.status)
        span.set_attribute("guard.dialect", verdict.dialect)
        span.set_attribute("guard.enforced", verdict.enforced)
        span.set_attribute("guard.seconds", seconds)
        if verdict.unscanned:
            span.set_attribute("guard.unscanned", list(verdict.unscanned))
        if verdict.findings:
            span.set_attribute("guard.pointers", [found.pointer for found in verdict.findings])


class AuditLog:
    """One line of JSON for every verdict that is not a plain "allow", to a logger.

    The line is `Verdict.to_dict()` with `time` (UTC, ISO 8601) and `seconds`.

    Args:
        guard: the guard to watch.
        logger: None is the logger `bertguard.audit`, at INFO; its handlers are the operator's.
        everything: log what was allowed as well.
    """

    def __init__(
        self, guard: Guard, logger: logging.Logger | None = None, *, everything: bool = False
    ) -> None:
        self._logger = logger or logging.getLogger(AUDIT_LOGGER)
        self._everything = everything
        guard.watch(self)

    def __call__(self, verdict: Verdict, seconds: float) -> None:
        """Write one verdict."""
        plain = verdict.action is Action.ALLOW and not verdict.unscanned
        if plain and not self._everything:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "seconds": round(seconds, 6), **verdict.to_dict()}
        self._logger.info("%s", json.dumps(line))
