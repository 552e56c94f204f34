"""The guarded client in its four faces, {httpx, httpx2} x {async, sync}, against a real server."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertguard import Action, Channel, Guard, GuardTransport, Policy, Thresholds, Verdict
from bertguard.client import SyncGuardTransport, guard_client, guarded_client
from bertguard.client.transports import faces
from bertguard.errors import ConfigurationError, MissingExtraError
from bertguard.scoring import Window
from faces import FACES, Face
from loopback import FakeLLM, serve
from support import ATTACK, BENIGN, KeywordScorer

CHAT = "/v1/chat/completions"


def chat(text: str, role: str = "user") -> dict[str, object]:
    return {"model": "m", "messages": [{"role": role, "content": text}]}


@pytest.fixture(params=FACES, ids=lambda face: f"{face.library}-{'sync' if face.sync else 'async'}")
def face(request: pytest.FixtureRequest) -> Face:
    chosen: Face = request.param
    return chosen


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FakeLLM, str]]:
    llm = FakeLLM()
    with serve(llm.app) as url:
        yield llm, url


@pytest.fixture
def llm(server: tuple[FakeLLM, str]) -> FakeLLM:
    server[0].reset()
    return server[0]


@pytest.fixture
def url(server: tuple[FakeLLM, str]) -> str:
    return server[1]


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as guard:
        yield guard


class BrokenGuard(Guard):
    """A guard with a bug that quotes the body in its error."""

    async def check_body(self, body: bytes, **about: object) -> Verdict:
        raise KeyError(body.decode())

    def check_body_sync(self, body: bytes, **about: object) -> Verdict:
        raise KeyError(body.decode())


# -- pass, flag, block -----------------------------------------------------------------------------


async def test_a_blocked_request_is_answered_and_never_sent(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """The answer is the provider's own 400, not to be retried, with the verdict beside it."""
    client = face.client(guard, base_url=url)
    response = await face.request(client, "POST", CHAT, json=chat(ATTACK))
    await face.close(client)
    assert llm.received == []
    assert isinstance(response, face.module.Response)
    assert (response.status_code, response.headers["x-should-retry"]) == (400, "false")
    assert response.json()["error"]["code"] == "content_filter"
    assert response.extensions["guard"].blocked
    assert ATTACK not in response.text


async def test_a_refusal_can_be_read_like_the_answer_of_a_server(face: Face, guard: Guard) -> None:
    """Timed, raw, piece by piece and only once the caller asks, with the length that it says."""
    client = face.client(guard, base_url="http://llm")
    options = {"json": chat(ATTACK)}

    def read() -> tuple[bool, bytes, Any]:
        with client.stream("POST", CHAT, **options) as response:
            early = response.is_stream_consumed
            return early, b"".join(response.iter_raw()), response

    async def read_later() -> tuple[bool, bytes, Any]:
        async with client.stream("POST", CHAT, **options) as response:
            early = response.is_stream_consumed
            return early, b"".join([piece async for piece in response.aiter_raw()]), response

    early, raw, streamed = await (asyncio.to_thread(read) if face.sync else read_later())
    plain = await face.request(client, "POST", CHAT, **options)
    await face.close(client)
    assert not early
    assert raw == plain.content
    for response in (streamed, plain):
        assert response.elapsed.total_seconds() > 0
        assert response.headers["content-length"] == str(len(raw))
        assert response.is_closed


async def test_a_benign_request_is_sent_as_it_was_written(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """The server gets the very bytes, the caller the server's own response and the verdict."""
    body = b' {"messages":[ {"role":"user", "content":"caf\\u00e9 \xc3\xa9"} ] }\n'
    client = face.client(guard, base_url=url)
    response = await face.request(client, "POST", CHAT, content=body)
    await face.close(client)
    assert [received.body for received in llm.received] == [body]
    assert response.status_code == 200
    assert response.extensions["guard"].action is Action.ALLOW
    assert not [name for name in response.headers if name.startswith("x-guard")]


async def test_a_flagged_request_passes_with_its_verdict(
    face: Face, llm: FakeLLM, url: str
) -> None:
    """Flag and shadow mode report in `response.extensions`; the upstream's headers are its own."""
    flags = Policy(thresholds={channel: Thresholds(0.5, 1.0) for channel in Channel})
    for policy, action in ((flags, Action.FLAG), (Policy(mode="shadow"), Action.BLOCK)):
        with Guard(KeywordScorer(), policy=policy) as guard:
            client = face.client(guard, base_url=url)
            response = await face.request(client, "POST", CHAT, json=chat(ATTACK))
            await face.close(client)
        assert response.status_code == 200
        assert response.extensions["guard"].action is action
        assert not [name for name in response.headers if name.startswith("x-guard")]
    assert len(llm.received) == 2


async def test_a_hook_sees_every_verdict(face: Face, guard: Guard, llm: FakeLLM, url: str) -> None:
    """The way to it where an SDK hands out no response: refusals come by as well."""
    seen: list[Action] = []

    def hook(response: Any) -> None:
        seen.append(response.extensions["guard"].action)

    async def hook_later(response: Any) -> None:
        hook(response)

    hooks = {"response": [hook if face.sync else hook_later]}
    client = face.client(guard, base_url=url, event_hooks=hooks)
    for text in (BENIGN, ATTACK):
        await face.request(client, "POST", CHAT, json=chat(text))
    await face.close(client)
    assert seen == [Action.ALLOW, Action.BLOCK]


async def test_an_upstream_cannot_report_in_the_guards_name(face: Face, guard: Guard) -> None:
    """`x-guard-*` of an upstream is taken away in any spelling; the rest is kept as it is."""
    own = [(b"X-Guard-Action", b"allow"), (b"x_guard_score", b"0"), (b"X-Kept", b"caf\xe9")]
    upstream = face.module.MockTransport(lambda _: face.module.Response(200, headers=own))
    client = face.client(guard, transport=upstream)
    response = await face.request(client, "POST", f"http://llm{CHAT}", json=chat(BENIGN))
    await face.close(client)
    assert response.headers.raw == own[2:]
    assert response.headers["x-kept"] == "café"


async def test_a_guard_that_fails_closes_the_door(
    face: Face, llm: FakeLLM, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in the guard is a 503 that is not retried, logged without a word of the prompt."""
    with BrokenGuard(KeywordScorer()) as guard, caplog.at_level(logging.ERROR, "bertguard"):
        client = face.client(guard, base_url=url)
        response = await face.request(client, "POST", CHAT, json=chat(BENIGN))
        await face.close(client)
    assert llm.received == []
    assert (response.status_code, response.headers["x-should-retry"]) == (503, "false")
    assert "KeyError" in caplog.text
    assert "France" not in caplog.text + response.text


async def test_a_stuck_guard_takes_no_longer_than_the_caller_waits(face: Face) -> None:
    """The read timeout of a request bounds the scoring, too; what has no score is unscanned."""
    go = threading.Event()

    class Stuck(KeywordScorer):
        def score(self, windows: Sequence[Window]) -> Sequence[float]:
            go.wait(timeout=20)
            return super().score(windows)

    sent: list[object] = []

    def answer(request: Any) -> Any:
        sent.append(request)
        return face.module.Response(200)

    with Guard(Stuck()) as guard:
        client = face.client(guard, transport=face.module.MockTransport(answer), timeout=600)
        before = time.monotonic()
        response = await face.request(
            client, "POST", f"http://llm{CHAT}", json=chat(BENIGN), timeout=0.2
        )
        took = time.monotonic() - before
        await face.close(client)
        go.set()
    assert response.status_code == 503
    assert response.extensions["guard"].unscanned == ("deadline",)
    assert sent == []
    assert took < 10


class Listening(Guard):
    """A guard that notes how long it is given."""

    def __init__(self) -> None:
        super().__init__(KeywordScorer())
        self.given: list[float | None] = []

    def _seconds(self, asked: float | None) -> float:
        self.given.append(asked)
        return super()._seconds(asked)


async def test_only_a_read_timeout_that_was_set_bounds_the_guard(face: Face) -> None:
    """httpx's own 5 s are no decision: a large document on a slow CPU may take the guard's 30."""
    upstream = face.module.MockTransport(lambda _: face.module.Response(200))
    timeouts: list[tuple[dict[str, Any], float | None]] = [
        ({}, None),
        ({"timeout": None}, None),
        ({"timeout": 600}, None),
        ({"timeout": 4}, 4),
        ({"timeout": face.module.Timeout(600, read=5)}, 5),
    ]
    with Listening() as guard:
        for options, _ in timeouts:
            client = face.client(guard, transport=upstream, **options)
            answer = await face.request(client, "POST", f"http://llm{CHAT}", json=chat(BENIGN))
            await face.close(client)
            assert answer.status_code == 200
    assert guard.given == [given for _, given in timeouts]


@pytest.mark.parametrize("read", [0, 1e-9, -1])
async def test_a_read_timeout_that_leaves_no_time_is_a_deadline(
    face: Face, guard: Guard, read: float
) -> None:
    """Unscanned like any other that came too late, and no error."""
    upstream = face.module.MockTransport(lambda _: face.module.Response(200))
    client = face.client(guard, transport=upstream, timeout=face.module.Timeout(5, read=read))
    answer = await face.request(client, "POST", f"http://llm{CHAT}", json=chat(BENIGN))
    await face.close(client)
    assert answer.status_code == 503
    assert answer.extensions["guard"].unscanned == ("deadline",)


class Wrapper:
    """Stands for a guard with the arguments that there were before `timeout_seconds`."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.policy = guard.policy

    async def check_body(self, body: bytes, *, path, headers, query, trusted_roles) -> Verdict:  # type: ignore[no-untyped-def]
        return await self.guard.check_body(body, path=path)

    def check_body_sync(self, body: bytes, *, path, headers, query, trusted_roles) -> Verdict:  # type: ignore[no-untyped-def]
        return self.guard.check_body_sync(body, path=path)


class Delegate(Wrapper):
    """The same, and whatever else it is asked for is the guard's, its timeout among it."""

    def __getattr__(self, name: str) -> object:
        return getattr(self.guard, name)


class OldSubclass(Guard):
    """A guard of one's own over the older arguments."""

    async def check_body(self, body: bytes, *, path="", headers=(), query="", trusted_roles=()):  # type: ignore[no-untyped-def, override]
        return await super().check_body(body, path=path)

    def check_body_sync(self, body: bytes, *, path="", headers=(), query="", trusted_roles=()):  # type: ignore[no-untyped-def, override]
        return super().check_body_sync(body, path=path)


@pytest.mark.parametrize("wrap", [Wrapper, Delegate, lambda guard: OldSubclass(guard.scorer)])
async def test_something_that_wraps_a_guard_is_told_nothing_new(
    face: Face, guard: Guard, wrap: Callable[[Guard], Any]
) -> None:
    """A timeout shorter than the guard's is no argument for one whose method takes none."""
    upstream = face.module.MockTransport(lambda _: face.module.Response(200))
    client = face.client(wrap(guard), transport=upstream, timeout=1)
    for text, status in ((BENIGN, 200), (ATTACK, 400)):
        response = await face.request(client, "POST", f"http://llm{CHAT}", json=chat(text))
        assert response.status_code == status
    await face.close(client)


async def test_what_the_application_wrote_is_trusted(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """System, developer and assistant turns are not scored by default; a policy can change that."""
    client = face.client(guard, base_url=url)
    for role in ("system", "developer", "assistant"):
        response = await face.request(client, "POST", CHAT, json=chat(ATTACK, role))
        assert response.status_code == 200
    await face.close(client)
    with Guard(KeywordScorer(), policy=Policy(trusted_roles=frozenset())) as strict:
        client = face.client(strict, base_url=url)
        response = await face.request(client, "POST", CHAT, json=chat(ATTACK, "system"))
        await face.close(client)
    assert response.status_code == 400
    suspicious = face.client(guard, base_url=url, trusted_roles=["developer"])
    response = await face.request(suspicious, "POST", CHAT, json=chat(ATTACK, "system"))
    await face.close(suspicious)
    assert response.status_code == 400
    assert len(llm.received) == 3


async def test_requests_with_nothing_to_read_pass_and_query_strings_are_read(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """A plain GET is not scored; an attack in a query string does not leave."""
    client = face.client(guard, base_url=url)
    plain = await face.request(client, "GET", "/v1/models")
    query = await face.request(client, "GET", "/search", params={"q": BENIGN})
    attack = await face.request(client, "GET", "/search", params={"q": ATTACK})
    await face.close(client)
    assert [r.status_code for r in (plain, query, attack)] == [200, 200, 400]
    assert plain.extensions["guard"].notes == ("nothing_to_read",)
    assert [received.path for received in llm.received] == ["/v1/models", "/search"]


# -- bodies ----------------------------------------------------------------------------------------


async def test_a_streamed_upload_is_read_and_sent_as_the_very_same_bytes(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """A generator is collected, scored and sent; its attack is refused wherever it is cut."""
    client = face.client(guard, base_url=url)
    for text, status in ((BENIGN, 200), (ATTACK, 400)):
        body = json.dumps(chat(text)).encode()
        pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
        response = await face.request(client, "POST", CHAT, content=face.upload(pieces))
        assert response.status_code == status
        assert response.request.content == body
    await face.close(client)
    assert [received.body for received in llm.received] == [json.dumps(chat(BENIGN)).encode()]
    assert ("transfer-encoding", "chunked") in llm.received[0].headers


async def test_multipart_and_form_bodies_are_read(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """Forms and text files are scored like anything else, and arrive as they were encoded."""
    client = face.client(guard, base_url=url)
    file = {"file": ("notes.txt", BENIGN.encode(), "text/plain")}
    bad_file = {"file": ("notes.txt", ATTACK.encode(), "text/plain")}
    statuses = [
        (await face.request(client, "POST", "/form", data={"q": BENIGN})).status_code,
        (await face.request(client, "POST", "/form", data={"q": ATTACK})).status_code,
        (await face.request(client, "POST", "/form", files=file)).status_code,
        (await face.request(client, "POST", "/form", files=bad_file)).status_code,
    ]
    await face.close(client)
    assert statuses == [200, 400, 200, 400]
    assert BENIGN.encode() in llm.received[1].body


async def test_a_body_is_held_once_while_it_is_judged(face: Face) -> None:
    """What is scored is the very object that is sent: the caller's own, or one of the pieces."""
    body = json.dumps(chat("x" * 1_000_000, "system")).encode()
    judged: list[bytes] = []
    held: list[int] = []
    sent: list[Any] = []

    def note(body: bytes) -> None:
        judged.append(body)
        held.append(tracemalloc.get_traced_memory()[0])

    class Watched(Guard):
        async def check_body(self, body: bytes, **about: Any) -> Verdict:
            note(body)
            return await super().check_body(body, **about)

        def check_body_sync(self, body: bytes, **about: Any) -> Verdict:
            note(body)
            return super().check_body_sync(body, **about)

    def answer(request: Any) -> Any:
        sent.extend([request.content, b"".join(request.stream)])
        return face.module.Response(200)

    with Watched(KeywordScorer()) as watched:
        client = face.client(watched, transport=face.module.MockTransport(answer))
        for content in (body, face.upload([body[:400_000], body[400_000:]])):
            tracemalloc.start()  # not before: what the caller holds is not counted
            await face.request(client, "POST", f"http://llm{CHAT}", content=content)
            tracemalloc.stop()
        await face.close(client)
    own, pieced = judged
    assert own is body
    assert pieced == body
    assert all(a is b for a, b in zip(sent, [own, own, pieced, pieced], strict=True))
    assert held[0] < 0.5 * len(body)
    assert held[1] < 1.5 * len(body)


async def test_a_body_over_the_cap_is_refused_and_shadow_mode_sends_it_whole(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """413 by default, however the body comes; a trial sends every byte and says unscanned."""
    body = json.dumps(chat(BENIGN * 20)).encode()
    pieces = [body[:60], body[60:130], body[130:]]
    client = face.client(guard, base_url=url, max_body_bytes=100)
    for content in (body, face.upload(pieces)):
        response = await face.request(client, "POST", CHAT, content=content)
        assert (response.status_code, response.headers["x-should-retry"]) == (413, "false")
    await face.close(client)
    assert llm.received == []
    with Guard(KeywordScorer(), policy=Policy(mode="shadow")) as shadow:
        client = face.client(shadow, base_url=url, max_body_bytes=100)
        for content in (body, face.upload(pieces)):
            response = await face.request(client, "POST", CHAT, content=content)
            assert response.extensions["guard"].unscanned == ("too_large",)
        await face.close(client)
    assert [received.body for received in llm.received] == [body, body]


async def test_an_upload_that_fails_is_the_callers_own_error(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """An exception inside the caller's generator comes out as it went in."""

    def broken() -> Iterator[bytes]:
        yield b"{"
        raise LookupError("mine")

    async def broken_later() -> AsyncIterator[bytes]:
        yield b"{"
        raise LookupError("mine")

    client = face.client(guard, base_url=url)
    content = broken() if face.sync else broken_later()
    with pytest.raises(LookupError, match="mine"):
        await face.request(client, "POST", CHAT, content=content)
    await face.close(client)
    assert llm.received == []


@given(data=st.data(), text=st.sampled_from([ATTACK, BENIGN]))
def test_the_way_an_upload_is_cut_changes_nothing(data: st.DataObject, text: str) -> None:
    """Any pieces, empty ones included: the same answer, and the same bytes in the end."""
    body = json.dumps(chat(text)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    edges = [0, *cuts, len(body)]
    pieces = [body[a:b] for a, b in pairwise(edges)]
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200)

    with Guard(KeywordScorer()) as guard:
        transport = SyncGuardTransport(guard, httpx.MockTransport(answer))
        with httpx.Client(transport=transport) as client:
            response = client.post(f"http://llm{CHAT}", content=iter(pieces))
    assert response.status_code == (400 if text == ATTACK else 200)
    assert sent == ([] if text == ATTACK else [body])


# -- options and imports ---------------------------------------------------------------------------


def test_options_that_cannot_work_are_refused(guard: Guard) -> None:
    """The error says what was found and what to use."""
    with pytest.raises(ConfigurationError, match="library='aiohttp' is unknown; use \"httpx\""):
        guarded_client(guard, library="aiohttp")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match=r"client is a builtins\.str; use a client"):
        guard_client("client", guard)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="guard is a str; use a Guard"):
        GuardTransport("guard")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="max_body_bytes=0"):
        GuardTransport(guard, max_body_bytes=0)
    with pytest.raises(ConfigurationError, match="the roles are system"):
        GuardTransport(guard, trusted_roles=["root"])
    with pytest.raises(ConfigurationError, match=r"transport is a httpx2.* use a httpx\.Async"):
        GuardTransport(guard, httpx2.AsyncHTTPTransport())


def test_a_client_of_an_unknown_build_is_refused(guard: Guard) -> None:
    """Where the transports cannot be found there is no telling that every way is guarded."""

    class Odd(httpx.Client):
        _mounts = None  # type: ignore[assignment]

        def __init__(self) -> None:
            pass

    with pytest.raises(ConfigurationError, match="unknown here"):
        guard_client(Odd(), guard)


def test_a_client_with_a_send_of_its_own_is_taken_on_the_callers_word(
    face: Face, guard: Guard
) -> None:
    """It may go past the transports, so somebody has to say that it does not."""
    base = face.module.Client if face.sync else face.module.AsyncClient

    class Counts(base):  # type: ignore[misc, valid-type]
        sent = 0

        def send(self, request: Any, **options: Any) -> Any:
            self.sent += 1
            return super().send(request, **options)

    answer = face.module.MockTransport(lambda _: face.module.Response(200))
    client = Counts(transport=answer)
    patched = base(transport=answer)
    patched._transport_for_url = lambda url: answer
    for other, name in ((client, "send"), (patched, "_transport_for_url")):
        with pytest.raises(ConfigurationError, match=f"has a {name} of its own.*own_send=True"):
            guard_client(other, guard)
    assert guard_client(client, guard, own_send=True) is client

    async def statuses() -> list[int]:
        asked = [
            await face.request(client, "POST", f"http://llm{CHAT}", json=chat(text))
            for text in (BENIGN, ATTACK)
        ]
        await face.close(client)
        await face.close(patched)
        return [response.status_code for response in asked]

    assert asyncio.run(statuses()) == [200, 400]
    assert client.sent == 2


def test_without_httpx2_the_error_names_the_extra(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`library="httpx2"` without the package is a MissingExtraError."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtraError, match=r'pip install "bertguard\[httpx2\]"'):
        faces.__wrapped__("httpx2")  # past the cache, where an earlier test has left the twins


def test_importing_the_client_does_not_load_httpx2() -> None:
    """httpx2 is optional: it is imported when its face is asked for, not before."""
    code = "import sys, bertguard.client; print('httpx2' in sys.modules)"
    answer = subprocess.run(  # noqa: S603 - our own interpreter and our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
