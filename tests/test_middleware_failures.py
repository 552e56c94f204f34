"""GuardMiddleware when things go wrong: clients that leave, guards that fail, odd servers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from bertguard import Channel, Guard, GuardMiddleware, Policy, Thresholds, Verdict
from bertguard.scoring import Window
from rawasgi import Notes, chat, exchange, http_scope
from support import ATTACK, BENIGN, KeywordScorer

FLAGS = Policy(thresholds={channel: Thresholds(0.5, 1.0) for channel in Channel})
SHADOW = Policy(mode="shadow")


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as guard:
        yield guard


@pytest.fixture(scope="module")
def flagging() -> Iterator[Guard]:
    """A guard that flags the attack and blocks nothing."""
    with Guard(KeywordScorer(), policy=FLAGS) as guard:
        yield guard


@pytest.fixture(scope="module")
def shadow() -> Iterator[Guard]:
    with Guard(KeywordScorer(), policy=SHADOW) as guard:
        yield guard


class BrokenScorer(KeywordScorer):
    """A model that fails on every text, and says the text in its error."""

    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        raise RuntimeError(f"cannot score {self.seen}")


class BrokenGuard(Guard):
    """A guard with a bug: its error is none of the kinds that are expected."""

    async def check_body(self, body: bytes, **about: object) -> Verdict:
        raise KeyError(body.decode())


class SlowScorer(KeywordScorer):
    """A model that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        self.go.wait(timeout=10)
        return super().score(windows)


# -- clients that leave ----------------------------------------------------------------------------


async def test_a_client_that_leaves_half_way_leaves_nothing_behind(guard: Guard) -> None:
    """Nothing is forwarded, the exchange ends as nginx ends it, and no task stays."""
    app = Notes()
    before = asyncio.all_tasks()
    result = await exchange(
        GuardMiddleware(app, guard), http_scope(), [chat(BENIGN)[:20]], leaves=True
    )
    assert (app.scopes, result.status, result.body) == ([], 499, b"")
    assert asyncio.all_tasks() == before


async def test_a_client_that_leaves_while_a_long_text_is_scored_is_not_served() -> None:
    """The scoring is dropped and the application never called."""
    scorer = SlowScorer()
    app = Notes()
    left = asyncio.Event()
    sent: list[Message] = []
    messages: list[Message] = [{"type": "http.request", "body": chat(BENIGN), "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    before = asyncio.all_tasks()
    with Guard(scorer) as guard:
        call = asyncio.create_task(GuardMiddleware(app, guard)(http_scope(), receive, send))
        await asyncio.sleep(0.05)
        left.set()
        await asyncio.wait_for(call, timeout=5)
        assert asyncio.all_tasks() == before
        scorer.go.set()
    assert (app.scopes, [message.get("status") for message in sent]) == ([], [499, None])


@pytest.mark.parametrize("half_way", [True, False])
async def test_a_client_that_leaves_is_no_error_of_what_stands_outside(half_way: bool) -> None:
    """Starlette's BaseHTTPMiddleware raises where there is no response at all."""
    scorer = SlowScorer()
    statuses: list[int] = []

    async def outside(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        statuses.append(response.status_code)
        return response

    with Guard(scorer) as guard:
        guarded = BaseHTTPMiddleware(GuardMiddleware(Notes(), guard), outside)
        body = chat(BENIGN)[:20] if half_way else chat(BENIGN)
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": half_way}]

        async def receive() -> Message:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            raise OSError("the client has gone")

        with suppress(OSError):  # Starlette's own middleware does send
            await asyncio.wait_for(guarded(http_scope(), receive, send), timeout=5)
        scorer.go.set()
    assert statuses == [499]


async def test_a_disconnect_seen_during_scoring_reaches_the_application() -> None:
    """What was read ahead is given to the application, which learns that its client has gone."""
    scorer = SlowScorer()
    seen: list[Message] = []
    served = asyncio.Event()
    messages: list[Message] = [
        {"type": "http.request", "body": chat(BENIGN), "more_body": False},
        # Servers may repeat the end of the body; bytes in it have not been scored.
        {"type": "http.request", "body": b"smuggled", "more_body": False},
    ]
    asked = asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        if asked.is_set():
            await asyncio.Event().wait()  # a server need not say it twice
        asked.set()
        await served.wait()
        return {"type": "http.disconnect"}

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(await receive())  # type: ignore[operator]
        served.set()
        seen.append(await receive())  # type: ignore[operator]
        seen.append(await receive())  # type: ignore[operator]

    async def send(message: Message) -> None:
        raise AssertionError(message)

    with Guard(scorer) as guard:
        call = asyncio.create_task(GuardMiddleware(app, guard)(http_scope(), receive, send))
        await asked.wait()
        scorer.go.set()
        await asyncio.wait_for(call, timeout=5)
    disconnect = {"type": "http.disconnect"}
    assert seen[0]["body"] == chat(BENIGN)
    assert seen[1:] == [disconnect, disconnect]


async def test_an_answer_leaves_no_watch_behind() -> None:
    """Where the client was watched during a long scoring, that ends with the request."""
    scorer = SlowScorer()
    app = Notes()
    watched = asyncio.Event()
    sent: list[Message] = []
    messages: list[Message] = [{"type": "http.request", "body": chat(BENIGN), "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        watched.set()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    before = asyncio.all_tasks()
    with Guard(scorer) as guard:
        call = asyncio.create_task(GuardMiddleware(app, guard)(http_scope(), receive, send))
        await watched.wait()
        scorer.go.set()
        await asyncio.wait_for(call, timeout=5)
    assert sent[0]["status"] == 200
    assert asyncio.all_tasks() == before


async def test_bytes_after_the_end_of_the_body_are_not_forwarded(guard: Guard) -> None:
    """A server that goes on after `more_body: False` adds nothing that nobody has scored."""
    seen: list[Message] = []
    extra = {"type": "http.request", "body": ATTACK.encode(), "more_body": True}
    messages: list[Message] = [
        {"type": "http.request", "body": chat(BENIGN), "more_body": False},
        extra,
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def app(scope: object, receive: object, send: object) -> None:
        for _ in range(3):
            seen.append(await receive())  # type: ignore[operator]

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await GuardMiddleware(app, guard)(http_scope(), receive, send)
    assert [message.get("body") for message in seen] == [chat(BENIGN), b"", None]


# -- a guard that fails ----------------------------------------------------------------------------


async def test_a_model_that_fails_closes_the_door() -> None:
    """The default policy answers 503, once: `x-should-retry: false`."""
    app = Notes()
    with Guard(BrokenScorer()) as guard:
        result = await exchange(GuardMiddleware(app, guard), http_scope(), [chat(BENIGN)])
    assert (result.status, result.headers["x-should-retry"]) == (503, "false")
    assert app.scopes == []


async def test_an_unexpected_error_fails_closed_and_is_logged_without_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug in the guard is a 503 whatever `on_unscanned` says; the log names type and place."""
    app = Notes()
    with (
        BrokenGuard(KeywordScorer(), policy=Policy(on_unscanned="allow")) as guard,
        caplog.at_level(logging.DEBUG),
    ):
        result = await exchange(GuardMiddleware(app, guard), http_scope(), [chat(BENIGN)])
    assert (result.status, result.headers["x-should-retry"]) == (503, "false")
    assert app.scopes == []
    assert "KeyError" in caplog.text
    assert BENIGN not in caplog.text
    assert "France" not in result.body.decode()


async def test_shadow_mode_survives_an_unexpected_error() -> None:
    """A trial must not take the service down: the request passes as unscanned."""
    app = Notes()
    with BrokenGuard(KeywordScorer(), policy=SHADOW) as guard:
        result = await exchange(GuardMiddleware(app, guard), http_scope(), [chat(BENIGN)])
    assert (result.status, result.headers["x-guard-status"]) == (200, "unscanned")
    assert app.body == chat(BENIGN)


async def test_errors_of_the_application_are_its_own(guard: Guard) -> None:
    """An exception from behind the guard goes up unchanged."""

    async def app(scope: object, receive: object, send: object) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await exchange(GuardMiddleware(app, guard), http_scope(), [chat(BENIGN)])
