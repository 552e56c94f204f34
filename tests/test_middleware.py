"""GuardMiddleware over HTTP, spoken by hand: what is judged, forwarded and answered."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from bertguard import Action, Channel, Guard, GuardMiddleware, Policy, Role, Thresholds, Verdict
from bertguard.errors import ConfigurationError, ScorerError
from bertguard.scoring import Window
from rawasgi import JSON, Notes, chat, exchange, http_scope
from support import ATTACK, BENIGN, KeywordScorer

FLAGS = Policy(thresholds={channel: Thresholds(0.5, 1.0) for channel in Channel})
SHADOW = Policy(mode="shadow")
NEVER = Thresholds(1.0, 1.0)


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


# -- pass and block --------------------------------------------------------------------------------


def second_try(guard: Guard) -> tuple[Callable[[], Guard], list[None]]:
    """What loads a guard and fails the first time, and its calls."""
    calls: list[None] = []

    def load() -> Guard:
        calls.append(None)
        if len(calls) == 1:
            raise OSError("not yet")
        return guard

    return load, calls


async def test_a_benign_request_reaches_the_application_as_it_was_sent(guard: Guard) -> None:
    """The body arrives byte for byte, in one message, and the response is not touched."""
    app = Notes()
    body = b' {"messages": [ {"role":"user", "content":"caf\\u00e9 \xc3\xa9"} ] }\n'
    result = await exchange(GuardMiddleware(app, guard), http_scope(), [body])
    assert app.messages == [{"type": "http.request", "body": body, "more_body": False}]
    assert result.sent == [
        {"type": "http.response.start", "status": 200, "headers": list(app.headers)},
        {"type": "http.response.body", "body": b"answer"},
    ]


async def test_an_attack_is_refused_and_never_reaches_the_application(guard: Guard) -> None:
    """A blocked request gets a 400 in the dialect's own error format; the application is idle."""
    app = Notes()
    result = await exchange(GuardMiddleware(app, guard), http_scope(), [chat(BENIGN, ATTACK)])
    assert app.scopes == []
    assert result.status == 400
    assert result.headers["content-type"].startswith("application/json")
    assert result.headers["content-length"] == str(len(result.body))
    assert json.loads(result.body)["error"]["code"] == "content_filter"
    assert ATTACK.encode() not in result.body


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/chat/completions", {"error"}),
        ("/v1/messages", {"type", "error"}),
        ("/proxy/deep/v1/messages", {"type", "error"}),
    ],
)
async def test_the_refusal_speaks_the_dialect_of_the_request(
    guard: Guard, path: str, shape: set[str]
) -> None:
    """OpenAI and Anthropic clients each get the error object that they know."""
    body = json.dumps(
        {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": ATTACK}]}
    ).encode()
    result = await exchange(GuardMiddleware(Notes(), guard), http_scope(path), [body])
    assert result.status == 400
    assert shape <= set(json.loads(result.body))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_no_method_is_a_way_around(guard: Guard, method: str) -> None:
    """A body is read whatever the method, and so is a query string."""
    app = Notes()
    guarded = GuardMiddleware(app, guard)
    by_body = await exchange(guarded, http_scope(method=method), [chat(ATTACK)])
    query = b"q=" + ATTACK.replace(" ", "+").encode()
    by_query = await exchange(guarded, http_scope("/search", method=method, query=query))
    assert (by_body.status, by_query.status) == (400, 400)
    assert app.scopes == []
    assert bool(by_body.body) is (method != "HEAD")


async def test_a_request_without_body_and_query_needs_no_guard() -> None:
    """It passes even where no guard can be loaded; the verdict says that nothing was there."""
    app = Notes()

    def no_guard() -> Guard:
        raise OSError("no checkpoint")

    result = await exchange(GuardMiddleware(app, no_guard), http_scope("/", method="GET"))
    assert result.status == 200
    verdict = app.scopes[0]["state"]["guard"]
    assert (verdict.action, verdict.notes) == (Action.ALLOW, ("nothing_to_read",))


async def test_nobody_is_trusted_unless_the_operator_says_so(guard: Guard) -> None:
    """The caller wrote every turn, so system text is scored; `trusted_roles` can change that."""
    body = [chat(ATTACK, role="system")]
    strict = await exchange(GuardMiddleware(Notes(), guard), http_scope(), body)
    trusting = GuardMiddleware(Notes(), guard, trusted_roles=["system"])
    assert (strict.status, (await exchange(trusting, http_scope(), body)).status) == (400, 200)


# -- the verdict's way out -------------------------------------------------------------------------


async def test_the_verdict_is_in_the_request_state(guard: Guard) -> None:
    """`scope["state"]["guard"]` holds it, beside what the lifespan left there."""
    app = Notes()
    state = {"db": "pool"}
    await exchange(GuardMiddleware(app, guard), http_scope(state=state), [chat(BENIGN)])
    verdict = app.scopes[0]["state"]["guard"]
    assert isinstance(verdict, Verdict)
    assert (verdict.action, verdict.dialect) == (Action.ALLOW, "openai.chat")
    assert app.scopes[0]["state"]["db"] == "pool"


async def test_state_is_shared_with_what_stands_outside(guard: Guard) -> None:
    """An outer middleware reads the verdict, and what the application left, after the call."""

    class Leaves(Notes):
        async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
            scope["state"]["user"] = "ada"
            await super().__call__(scope, receive, send)

    packed = [*JSON, (b"content-encoding", b"gzip")]
    for scope, body in (
        (http_scope(), chat(BENIGN)),
        (http_scope(state={"db": "pool"}), chat(BENIGN)),
        (http_scope(headers=packed), gzip.compress(chat(BENIGN))),
    ):
        await exchange(GuardMiddleware(Leaves(), guard), scope, [body])
        assert scope["state"]["guard"].status == "scanned"
        assert scope["state"]["user"] == "ada"


async def test_what_stands_outside_learns_of_a_refusal(guard: Guard) -> None:
    """Whoever counts or logs refusals finds the verdict where that of a passed request is."""
    for body, status in ((chat(ATTACK), 400), (gzip.compress(b" "), 400), (b" " * 201, 413)):
        scope = http_scope()
        guarded = GuardMiddleware(Notes(), guard, max_body_bytes=200)
        assert (await exchange(guarded, scope, [body])).status == status
        assert scope["state"]["guard"].blocked


async def test_a_flagged_request_passes_with_headers_on_its_response(flagging: Guard) -> None:
    """Flag adds action and score to the response start, after the application's own headers."""
    app = Notes()
    result = await exchange(GuardMiddleware(app, flagging), http_scope(), [chat(ATTACK)])
    assert result.status == 200
    assert result.body == b"answer"
    assert result.sent[0]["headers"] == [
        *app.headers,
        (b"x-guard-action", b"flag"),
        (b"x-guard-score", b"0.9900"),
    ]
    assert app.scopes[0]["state"]["guard"].action is Action.FLAG


@pytest.mark.parametrize("report_headers", [True, False])
async def test_only_the_guard_reports(flagging: Guard, report_headers: bool) -> None:
    """`x-guard-*` of the application's own, or of an upstream behind it, is taken away always."""
    own = [(b"X-Guard-Action", b"block"), (b"x_guard_note", b"mine"), (b"x-guardian", b"kept")]
    options: dict[str, Any] = {"report_headers": report_headers, "exempt": ["/exempt"]}
    guarded = GuardMiddleware(Notes(headers=own), flagging, **options)
    reported = await exchange(guarded, http_scope(), [chat(ATTACK)])
    report = {"x-guard-action": "flag", "x-guard-score": "0.9900"} if report_headers else {}
    assert reported.headers == {"x-guardian": "kept", **report}
    for scope in (http_scope(), http_scope("/exempt")):
        silent = await exchange(guarded, scope, [chat(BENIGN)])
        assert silent.headers == {"x-guardian": "kept"}


@pytest.mark.parametrize("report_headers", [True, False])
@pytest.mark.parametrize("exempt", [[], ["/v1/chat/completions"]])
async def test_a_second_guard_is_heard_through_the_first(
    guard: Guard, flagging: Guard, shadow: Guard, report_headers: bool, exempt: list[str]
) -> None:
    """The outer report is of the stricter verdict, and a refusal of the inner one stays one."""
    own = [(b"x-guard-action", b"allow")]
    options: dict[str, Any] = {"report_headers": report_headers, "exempt": exempt}
    block, flag = {"x-guard-action": "block"}, {"x-guard-action": "flag", "x-guard-score": "0.9900"}
    trial = {**flag, **block, "x-guard-mode": "shadow"}
    with Guard(KeywordScorer(), policy=Policy(thresholds={Channel.PROMPT: NEVER})) as lenient:
        for outer, inner, status, report in (
            (lenient, flagging, 200, flag),
            (lenient, shadow, 200, trial),
            (lenient, guard, 400, block),
            (shadow, guard, 400, block),
            (shadow, flagging, 200, flag if exempt else trial),
            (flagging, lenient, 200, {} if exempt else flag),
        ):
            nested = GuardMiddleware(Notes(headers=own), inner)
            guarded = GuardMiddleware(nested, outer, **options)
            result = await exchange(guarded, http_scope(), [chat(ATTACK)])
            told = {n: v for n, v in result.headers.items() if n.startswith("x-guard")}
            assert result.status == status
            assert told == (report if report_headers or status == 400 else {})


async def test_an_exemption_of_the_second_guard_hides_nothing_of_the_first(flagging: Guard) -> None:
    """What the outer guard found stays found, though the state says that the inner saw nothing."""
    nested = GuardMiddleware(Notes(), flagging, exempt=["/v1/chat/completions"])
    scope = http_scope()
    result = await exchange(GuardMiddleware(nested, flagging), scope, [chat(ATTACK)])
    assert result.headers["x-guard-action"] == "flag"
    assert "x-guard-status" not in result.headers


async def test_trailers_report_nothing_either(guard: Guard) -> None:
    """A header after the body (RFC 9110 section 6.5) is a header."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b""})
        trailers = [(b"x-guard-status", b"scanned"), (b"etag", b"1")]
        await send({"type": "http.response.trailers", "headers": trailers, "more_trailers": False})

    answer = await exchange(GuardMiddleware(app, guard), http_scope(), [chat(BENIGN)])
    assert answer.sent[-1]["headers"] == [(b"etag", b"1")]


async def test_verdicts_can_be_kept_out_of_the_response(flagging: Guard) -> None:
    """`report_headers=False` leaves the response alone; the application still knows."""
    app = Notes()
    guarded = GuardMiddleware(app, flagging, report_headers=False)
    result = await exchange(guarded, http_scope(), [chat(ATTACK)])
    assert set(result.headers) == {"content-type"}
    assert app.scopes[0]["state"]["guard"].action is Action.FLAG


async def test_unscanned_requests_say_so_where_the_policy_lets_them_pass() -> None:
    """`on_unscanned="allow"` passes with `x-guard-status: unscanned` and nothing else."""
    app = Notes()
    with Guard(BrokenScorer(), policy=Policy(on_unscanned="allow")) as guard:
        result = await exchange(GuardMiddleware(app, guard), http_scope(), [chat(BENIGN)])
    assert result.status == 200
    assert set(result.headers) == {"content-type", "x-guard-status"}
    assert result.headers["x-guard-status"] == "unscanned"
    assert app.scopes[0]["state"]["guard"].unscanned == (ScorerError.reason,)


async def test_shadow_mode_reports_and_lets_pass(shadow: Guard) -> None:
    """What would have been blocked passes; headers and state say what would have happened."""
    app = Notes()
    result = await exchange(GuardMiddleware(app, shadow), http_scope(), [chat(ATTACK)])
    assert result.status == 200
    assert result.headers["x-guard-action"] == "block"
    assert result.headers["x-guard-mode"] == "shadow"
    assert app.scopes[0]["state"]["guard"].action is Action.BLOCK
    assert app.body == chat(ATTACK)


async def test_inbound_guard_headers_are_stripped(guard: Guard) -> None:
    """A caller cannot pretend a verdict, in any case or with underscores; the rest is kept."""
    app = Notes()
    headers = [
        *JSON,
        (b"x-guard-action", b"allow"),
        (b"X-Guard-Score", b"0"),
        (b"x_guard_status", b"scanned"),
        (b"x-guardian", b"kept"),
    ]
    scope = http_scope(headers=headers)
    await exchange(GuardMiddleware(app, guard), scope, [chat(BENIGN)])
    assert app.scopes[0]["headers"] == [*JSON, (b"x-guardian", b"kept")]
    assert scope["headers"] == headers


# -- bodies ----------------------------------------------------------------------------------------


@given(data=st.data(), text=st.sampled_from([ATTACK, BENIGN]))
def test_the_way_a_body_is_cut_changes_nothing(data: st.DataObject, text: str) -> None:
    """Any chunking, empty chunks included: the same answer, and the same bytes forwarded."""
    body = chat(text, "é…😀")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    edges = [0, *cuts, len(body)]
    chunks = [body[a:b] for a, b in pairwise(edges)]
    app = Notes()

    async def send() -> int:
        with Guard(KeywordScorer()) as guard:
            return (await exchange(GuardMiddleware(app, guard), http_scope(), chunks)).status

    status = asyncio.run(send())
    assert status == (400 if text == ATTACK else 200)
    assert app.messages == (
        [] if text == ATTACK else [{"type": "http.request", "body": body, "more_body": False}]
    )


@pytest.mark.parametrize("claimed", [None, b"0", b"5", b"99999999999", b"-1", b"many"])
async def test_bytes_are_counted_not_claimed(guard: Guard, claimed: bytes | None) -> None:
    """A missing or lying Content-Length changes neither the reading nor the cap."""
    headers = [*JSON] if claimed is None else [*JSON, (b"content-length", claimed)]
    app = Notes()
    guarded = GuardMiddleware(app, guard, max_body_bytes=200)
    scope = http_scope(headers=headers)
    attack, long = chat(ATTACK), chat(BENIGN * 20)
    assert (await exchange(guarded, scope, [attack[:9], attack[9:]])).status == 400
    assert (await exchange(guarded, scope, [long[:150], long[150:]])).status == 413
    assert (await exchange(guarded, scope, [chat(BENIGN)])).status == 200
    assert app.body == chat(BENIGN)


async def test_a_body_over_the_cap_is_not_read_on(guard: Guard) -> None:
    """Reading stops with the piece that passes the cap; a body exactly at the cap is fine."""
    app = Notes()
    body = chat(BENIGN)
    guarded = GuardMiddleware(app, guard, max_body_bytes=len(body))
    assert (await exchange(guarded, http_scope(), [body])).status == 200
    endless = [b" " * 10] * 1000
    asked = 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": endless[asked], "more_body": True}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await guarded(http_scope(), receive, send)
    assert sent[0]["status"] == 413
    assert asked == len(body) // 10 + 1
    assert len(app.scopes) == 1


@pytest.mark.parametrize("cuts", [(100, 150), (100,), ()])
async def test_shadow_mode_forwards_a_body_over_the_cap_whole(
    shadow: Guard, cuts: tuple[int, ...]
) -> None:
    """A trial must not break uploads: what was read is replayed, the rest, if any, follows."""
    app = Notes()
    body = chat(BENIGN * 10)
    chunks = [body[start:end] for start, end in pairwise((0, *cuts, len(body)))]
    guarded = GuardMiddleware(app, shadow, max_body_bytes=120)
    result = await exchange(guarded, http_scope(), chunks)
    assert result.status == 200
    assert app.body == body
    assert result.headers["x-guard-status"] == "unscanned"
    assert app.scopes[0]["state"]["guard"].unscanned == ("too_large",)


async def test_a_compressed_body_is_forwarded_as_it_was_read(guard: Guard) -> None:
    """The application gets the inflated bytes, since a stream can hold a text of its own."""
    app = Notes()
    scope = http_scope(headers=[*JSON, (b"content-encoding", b"gzip")])
    guarded = GuardMiddleware(app, guard)
    assert (await exchange(guarded, scope, [gzip.compress(chat(ATTACK))])).status == 400
    packed = gzip.compress(chat(BENIGN))
    scope = http_scope(headers=[*scope["headers"], (b"content-length", b"%d" % len(packed))])
    assert (await exchange(guarded, scope, [packed])).status == 200
    assert app.body == chat(BENIGN)
    headers = dict(app.scopes[0]["headers"])
    assert b"content-encoding" not in headers
    assert headers[b"content-length"] == b"%d" % len(app.body)


async def test_the_cap_counts_inflated_bytes_too(guard: Guard, shadow: Guard) -> None:
    """Few bytes on the wire do not make many in memory; a trial passes them as they came."""
    headers = [*JSON, (b"content-encoding", b"gzip")]
    fine, large = gzip.compress(chat(BENIGN * 3)), gzip.compress(chat(BENIGN * 20))
    assert len(large) < 200
    for which, body, status in ((guard, fine, 200), (guard, large, 413), (shadow, large, 200)):
        app = Notes()
        guarded = GuardMiddleware(app, which, max_body_bytes=200)
        result = await exchange(guarded, http_scope(headers=headers), [body])
        assert result.status == status
    assert app.body == large
    assert dict(app.scopes[0]["headers"])[b"content-encoding"] == b"gzip"
    assert app.scopes[0]["state"]["guard"].unscanned == ("too_large",)


async def test_a_body_that_inflates_out_of_proportion_is_not_called_too_large(
    guard: Guard, shadow: Guard
) -> None:
    """Far below the cap it is unreadable, and the answer says why; a trial passes it as it came."""
    headers = [*JSON, (b"content-encoding", b"gzip")]
    body = gzip.compress(chat("a" * 400_000))
    assert len(body) < 1000
    refused = await exchange(GuardMiddleware(Notes(), guard), http_scope(headers=headers), [body])
    error = json.loads(refused.body)["error"]
    assert (refused.status, error["code"]) == (400, "unreadable_body")
    assert "more than 200 times" in error["message"]
    app = Notes()
    await exchange(GuardMiddleware(app, shadow), http_scope(headers=headers), [body])
    assert app.body == body
    assert app.scopes[0]["state"]["guard"].unscanned == ("unreadable:inflate_ratio",)


async def test_a_body_that_does_not_inflate_reaches_the_application_in_shadow_mode(
    shadow: Guard,
) -> None:
    """As it came, under its own headers, with the verdict beside it."""
    app = Notes()
    scope = http_scope(headers=[*JSON, (b"content-encoding", b"gzip")])
    assert (await exchange(GuardMiddleware(app, shadow), scope, [b"no gzip"])).status == 200
    assert app.body == b"no gzip"
    assert dict(app.scopes[0]["headers"])[b"content-encoding"] == b"gzip"
    assert app.scopes[0]["state"]["guard"].unscanned == ("unreadable:content_encoding",)


async def test_an_unreadable_body_is_refused(guard: Guard) -> None:
    """What cannot be read in exactly one way is a 400, whatever its content type."""
    app = Notes()
    result = await exchange(GuardMiddleware(app, guard), http_scope(), [b'{"messages": ['])
    assert result.status == 400
    assert app.scopes == []


# -- loading and options ---------------------------------------------------------------------------


async def lifespan(app: GuardMiddleware, sent: list[str]) -> None:
    """Start an application up and shut it down; `sent` gets the types of what it sent."""
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)


class Lifespan(Notes):
    """An application with something of its own to start."""

    started = False

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] != "lifespan":
            await super().__call__(scope, receive, send)
            return
        await receive()
        self.started = True
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def test_a_function_loads_the_guard_once_and_after_the_application_has_started(
    guard: Guard,
) -> None:
    """At the end of start-up, in a worker thread; so it may return what the lifespan loaded."""
    app = Lifespan()
    calls: list[tuple[bool, bool]] = []

    def load() -> Guard:
        calls.append((app.started, threading.current_thread() is threading.main_thread()))
        return guard

    guarded = GuardMiddleware(app, load)
    sent: list[str] = []
    await lifespan(guarded, sent)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert calls == [(True, False)]
    assert (await exchange(guarded, http_scope(), [chat(ATTACK)])).status == 400
    assert len(calls) == 1


async def test_a_guard_that_cannot_be_loaded_stops_the_start_up() -> None:
    """The error goes up into the lifespan instead of a service that refuses everything."""

    def load() -> Guard:
        raise OSError("no checkpoint there")

    for app in (Lifespan(), Starlette()):
        sent: list[str] = []
        with pytest.raises(OSError, match="no checkpoint there"):
            await lifespan(GuardMiddleware(app, load), sent)
        assert "lifespan.startup.complete" not in sent
    assert sent == ["lifespan.startup.failed"]  # as Starlette says it


async def test_a_request_that_gives_up_begins_no_second_load(guard: Guard) -> None:
    """Impatient clients while a checkpoint is loading must not load it, or hold a thread, each."""
    loads: list[None] = []
    go = threading.Event()

    def load() -> Guard:
        loads.append(None)
        go.wait(timeout=10)
        return guard

    guarded = GuardMiddleware(Notes(), load)
    before = threading.active_count()
    for _ in range(3):
        impatient = asyncio.create_task(exchange(guarded, http_scope(), [chat(BENIGN)]))
        await asyncio.sleep(0.05)
        impatient.cancel()
        await asyncio.wait({impatient})
    patient = asyncio.create_task(exchange(guarded, http_scope(), [chat(BENIGN)]))
    await asyncio.sleep(0.05)
    assert threading.active_count() <= before + 1
    go.set()
    assert (await patient).status == 200
    assert len(loads) == 1


async def test_a_load_that_fails_after_all_have_given_up_is_tried_again(guard: Guard) -> None:
    """Nobody hears of the failure, and it stands in nobody's way."""
    answers: Iterator[Guard | OSError] = iter([OSError("not yet"), guard])
    go = threading.Event()

    def load() -> Guard:
        go.wait(timeout=10)
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    guarded = GuardMiddleware(Notes(), load)
    impatient = asyncio.create_task(exchange(guarded, http_scope(), [chat(BENIGN)]))
    await asyncio.sleep(0.05)
    impatient.cancel()
    await asyncio.wait({impatient})
    loading = next(one for one in threading.enumerate() if one.name.startswith("bertguard-load"))
    go.set()
    await asyncio.to_thread(loading.join, 10)
    assert (await exchange(guarded, http_scope(), [chat(BENIGN)])).status == 200


async def test_without_a_lifespan_the_first_request_loads_the_guard(guard: Guard) -> None:
    """Requests that arrive together wait for one load; a load that fails is a 503."""
    load, calls = second_try(guard)
    guarded = GuardMiddleware(Notes(), load)
    assert (await exchange(guarded, http_scope(), [chat(BENIGN)])).status == 503
    results = await asyncio.gather(
        *(exchange(guarded, http_scope(), [chat(ATTACK)]) for _ in range(5))
    )
    assert [result.status for result in results] == [400] * 5
    assert len(calls) == 2


async def test_a_body_over_the_cap_loads_the_guard_to_learn_its_policy(shadow: Guard) -> None:
    """A trial must not break the first upload; without a guard there is no trial, and 413."""
    app = Notes()
    body = chat(BENIGN)
    load, _ = second_try(shadow)
    guarded = GuardMiddleware(app, load, max_body_bytes=10)
    assert (await exchange(guarded, http_scope(), [body])).status == 413
    assert (await exchange(guarded, http_scope(), [body])).status == 200
    assert app.scopes[0]["state"]["guard"].unscanned == ("too_large",)


async def test_other_scope_types_pass_untouched(guard: Guard) -> None:
    """Lifespan and whatever may come reach the application with the very same objects."""
    seen: list[object] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.extend((scope, receive, send))

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    for kind in ("lifespan", "something.new"):
        scope = {"type": kind}
        await GuardMiddleware(app, guard)(scope, receive, send)
        assert seen[0] is scope
        assert seen[1:] == [receive, send]
        seen.clear()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_body_bytes": 0}, "max_body_bytes=0"),
        ({"trusted_roles": ["root"]}, "the roles are system"),
    ],
)
def test_options_that_cannot_work_are_refused(
    guard: Guard, options: dict[str, object], message: str
) -> None:
    """The error names the option, what it was and what to use."""
    with pytest.raises(ConfigurationError, match=message):
        GuardMiddleware(Notes(), guard, **options)  # type: ignore[arg-type]


def test_a_thing_that_is_no_guard_is_refused() -> None:
    """A string or a scorer in the guard's place fails when the application is built."""
    with pytest.raises(ConfigurationError, match="guard is a str"):
        GuardMiddleware(Notes(), "guard")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="Guard is a class"):
        GuardMiddleware(Notes(), Guard)  # type: ignore[arg-type]


def test_roles_may_be_given_by_name_or_member(guard: Guard) -> None:
    """`"system"` and `Role.SYSTEM` are the same role."""
    by_name = GuardMiddleware(Notes(), guard, trusted_roles=["system"])
    assert by_name.trusted_roles == frozenset({Role.SYSTEM})
