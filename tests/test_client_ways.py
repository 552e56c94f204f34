"""Every way out of the guarded client: redirects, proxies, mounts, upgrades, streams."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import anthropic
import httpx
import openai
import pytest
from httpx2.websockets import WebSocketUpgradeError

from bertguard import Guard, GuardTransport, Policy, Verdict
from bertguard.client import guard_client, guard_transport, guarded_client
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
def proxy() -> Iterator[tuple[FakeLLM, str]]:
    """A second server; as a proxy it is asked for whole URLs and answers them itself."""
    llm = FakeLLM()
    with serve(llm.app) as url:
        yield llm, url


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as guard:
        yield guard


# -- every way out ---------------------------------------------------------------------------------


async def test_redirects_are_judged_again(face: Face, guard: Guard, llm: FakeLLM, url: str) -> None:
    """A body is re-sent, a streamed one too; a target with an attack in it is not followed."""
    client = face.client(guard, base_url=url, follow_redirects=True)
    body = json.dumps(chat(BENIGN)).encode()
    llm.location = CHAT
    good = await face.request(client, "POST", "/moved", content=face.upload([body]))
    llm.location = str(httpx.URL("/search", params={"q": ATTACK}))
    bad = await face.request(client, "POST", "/moved", content=body)
    await face.close(client)
    assert (good.status_code, bad.status_code) == (200, 400)
    assert [(r.path, r.body) for r in llm.received] == [
        ("/moved", body),
        (CHAT, body),
        ("/moved", body),
    ]


async def test_redirects_are_followed_and_every_hop_is_judged(
    face: Face, guard: Guard, llm: FakeLLM, url: str, proxy: tuple[FakeLLM, str]
) -> None:
    """As an SDK's own client does, to another host as well; the verdict is that of the last hop."""
    other, other_url = proxy
    other.reset()
    judged: list[Verdict] = []
    own = guard.with_policy(guard.policy)
    own.watch(lambda verdict, _: judged.append(verdict))
    client = face.client(own, base_url=url)
    other.location = f"{url}{CHAT}"
    llm.location = f"{other_url}/moved?q=France"
    good = await face.request(client, "POST", "/moved", json=chat(BENIGN))
    assert (good.status_code, len(good.history), len(judged)) == (200, 2, 3)
    assert [r.extensions["guard"] for r in (*good.history, good)] == judged
    other.location = f"{url}{CHAT}?q={ATTACK}".replace(" ", "+")
    bad = await face.request(client, "POST", "/moved", json=chat(BENIGN))
    await face.close(client)
    assert (bad.status_code, len(bad.history), len(judged)) == (400, 2, 6)
    assert [verdict.blocked for verdict in judged] == [False] * 5 + [True]
    assert [r.path for r in (*llm.received, *other.received)] == [
        *("/moved", CHAT, "/moved"),
        *("/moved", "/moved"),
    ]


async def test_bytes_over_the_cap_follow_a_redirect_in_shadow_mode(
    face: Face, llm: FakeLLM, url: str
) -> None:
    """What can be sent twice without a guard can be sent twice with one."""
    llm.location = CHAT
    body = json.dumps(chat(BENIGN * 20)).encode()
    with Guard(KeywordScorer(), policy=Policy(mode="shadow")) as shadow:
        client = face.client(shadow, base_url=url, follow_redirects=True, max_body_bytes=100)
        answer = await face.request(client, "POST", "/moved", content=body)
        await face.close(client)
    assert answer.status_code == 200
    assert [(r.path, r.body) for r in llm.received] == [("/moved", body), (CHAT, body)]


async def test_every_request_of_an_authentication_is_judged(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """An auth flow sends requests of its own and sends a body again: the guard sees each."""
    base = face.module.Auth
    body = json.dumps(chat(BENIGN)).encode()

    class Asks(base):  # type: ignore[misc, valid-type]
        requires_request_body = True

        def __init__(self, question: str) -> None:
            self.question = question

        def auth_flow(self, request: Any) -> Iterator[Any]:
            assert request.content == body
            token: Any = yield face.module.Request(
                "POST", f"{url}/token", json={"q": self.question}
            )
            request.headers["authorization"] = f"Bearer {token.status_code}"
            yield request
            yield request

    client = face.client(guard, base_url=url)
    for question, status in ((BENIGN, 200), (ATTACK, 400)):
        response = await face.request(client, "POST", CHAT, content=body, auth=Asks(question))
        assert response.status_code == 200
        assert dict(llm.received[-1].headers)["authorization"] == f"Bearer {status}"
    await face.close(client)
    paths = [received.path for received in llm.received]
    assert paths == ["/token", CHAT, CHAT, CHAT, CHAT]
    assert [received.body for received in llm.received if received.path == CHAT] == [body] * 4


@pytest.mark.parametrize("way", ["proxy", "mounts", "environment"])
async def test_proxies_and_mounts_are_no_way_around(
    face: Face,
    guard: Guard,
    proxy: tuple[FakeLLM, str],
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever leads to the proxy asks the guard first: option, mount or environment."""
    seen, proxy_url = proxy
    seen.reset()
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    options: dict[str, object] = {}
    if way == "proxy":
        options["proxy"] = proxy_url
    elif way == "mounts":
        transport = face.module.HTTPTransport if face.sync else face.module.AsyncHTTPTransport
        options["mounts"] = {"all://llm.test": transport(proxy=proxy_url), "all://other": None}
    else:
        monkeypatch.setenv("HTTP_PROXY", proxy_url)
    client = face.client(guard, **options)
    target = f"http://llm.test{CHAT}"
    good = await face.request(client, "POST", target, json=chat(BENIGN))
    bad = await face.request(client, "POST", target, json=chat(ATTACK))
    await face.close(client)
    assert (good.status_code, bad.status_code) == (200, 400)
    assert [received.path for received in seen.received] == [target]


async def test_each_address_may_have_a_policy_of_its_own(face: Face, guard: Guard) -> None:
    """A mount that is a guard transport is the operator's choice: nothing is put in front of it."""
    upstream = face.module.MockTransport(lambda _: face.module.Response(200))
    make: Any = guard_transport
    trial, harsh = (
        make(guard.with_policy(policy), upstream, library=face.library, sync=face.sync)
        for policy in (Policy(mode="shadow"), Policy(trusted_roles=[]))
    )
    mounts = {"all://trial.test": trial, "all://harsh.test": harsh, "all://plain.test": upstream}
    client = face.client(guard, transport=upstream, mounts=mounts)
    for host, role, status in (
        *(("trial.test", "user", 200), ("harsh.test", "system", 400)),
        *(("plain.test", "user", 400), ("plain.test", "system", 200)),
        ("other.test", "user", 400),
    ):
        answer = await face.request(
            client, "POST", f"https://{host}{CHAT}", json=chat(ATTACK, role)
        )
        assert answer.status_code == status
        assert answer.extensions["guard"].blocked == (status == 400)
    await face.close(client)


async def test_a_second_guard_stands_before_guarded_mounts_too(face: Face, guard: Guard) -> None:
    """`guard_client` cannot tell who chose what is mounted, so no mount is a way around it."""
    upstream = face.module.MockTransport(lambda _: face.module.Response(200))
    shadow = guard.with_policy(Policy(mode="shadow"))
    client = face.client(shadow, transport=upstream, mounts={"all://mounted.test": upstream})
    guard_client(client, guard)
    for host in ("mounted.test", "other.test"):
        answer = await face.request(client, "POST", f"https://{host}{CHAT}", json=chat(ATTACK))
        assert answer.status_code == 400
    await face.close(client)


async def test_a_guarded_client_waits_as_the_sdks_do(face: Face, guard: Guard) -> None:
    """OpenAI's and Anthropic's settings in place of httpx's, unless the caller says otherwise."""
    bare = face.client(guard)
    given = face.client(
        guard,
        timeout=None,
        follow_redirects=False,
        limits=face.module.Limits(max_connections=7, max_keepalive_connections=3),
    )
    for own in (openai, anthropic):
        assert bare.timeout.as_dict() == own.DEFAULT_TIMEOUT.as_dict()
        pool, limits = bare._transport.transport._pool, own.DEFAULT_CONNECTION_LIMITS
        assert pool._max_connections == limits.max_connections
        assert pool._max_keepalive_connections == limits.max_keepalive_connections
    assert bare.follow_redirects
    assert set(given.timeout.as_dict().values()) == {None}
    assert not given.follow_redirects
    pool = given._transport.transport._pool
    assert (pool._max_connections, pool._max_keepalive_connections) == (7, 3)
    await face.close(bare)
    await face.close(given)


async def test_an_existing_client_is_guarded_in_place(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """`guard_client` returns the client itself, wraps every transport, and only once."""
    make = face.module.Client if face.sync else face.module.AsyncClient
    transport = face.module.HTTPTransport if face.sync else face.module.AsyncHTTPTransport
    client = make(base_url=url, mounts={"all://mounted": transport(), "all://none": None})
    assert guard_client(client, guard) is client
    main, mounts = client._transport, dict(client._mounts)
    assert guard_client(client, guard) is client
    assert (client._transport, client._mounts) == (main, mounts)
    assert main.gate.guard is guard
    ways = {pattern.pattern: way for pattern, way in mounts.items()}
    assert ways["all://mounted"].gate.guard is guard
    assert ways["all://none"] is None
    assert (await face.request(client, "POST", CHAT, json=chat(ATTACK))).status_code == 400
    assert (await face.request(client, "POST", CHAT, json=chat(BENIGN))).status_code == 200
    await face.close(client)
    assert len(llm.received) == 1


def test_other_options_are_not_taken_for_the_same_guard(guard: Guard) -> None:
    """A second, stricter call is not ignored because a laxer one came before it."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        guard_client(client, guard, trusted_roles=["user"])
        assert client.post(f"http://llm{CHAT}", json=chat(ATTACK)).status_code == 200
        guard_client(client, guard)
        assert client.post(f"http://llm{CHAT}", json=chat(ATTACK)).status_code == 400
    assert len(sent) == 1


async def test_another_guard_adds_to_the_first(face: Face, guard: Guard, url: str) -> None:
    """Two guards on one client both have to agree."""
    with Guard(KeywordScorer(), policy=Policy(mode="shadow")) as shadow:
        client = face.client(guard, base_url=url)
        guard_client(client, shadow)
        response = await face.request(client, "POST", CHAT, json=chat(ATTACK))
        await face.close(client)
    assert response.status_code == 400


async def test_the_query_that_is_sent_is_the_one_that_is_read(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """httpx lets the extension `target` override path and query of the URL; the guard follows."""
    client = face.client(guard, base_url=url)
    for text, status in ((BENIGN, 200), (ATTACK, 400)):
        target = f"/search?q={text.replace(' ', '+')}".encode("ascii")
        response = await face.request(client, "GET", "/search", extensions={"target": target})
        assert response.status_code == status
    await face.close(client)
    assert len(llm.received) == 1


@pytest.mark.parametrize("sync", [False, True])
async def test_a_websocket_is_not_opened_past_the_guard(
    guard: Guard, llm: FakeLLM, url: str, sync: bool
) -> None:
    """Its frames would pass no transport, so the handshake follows `on_unscanned`."""
    client = Face("httpx2", sync).client(guard, base_url=url)
    with pytest.raises(WebSocketUpgradeError) as caught:
        if sync:
            with client.websocket("/ws"):
                pass
        else:
            async with client.websocket("/ws"):
                pass
    await Face("httpx2", sync).close(client)
    refused = caught.value.response.extensions["guard"]
    assert (refused.blocked, refused.unscanned) == (True, ("protocol_upgrade",))
    assert llm.received == []


async def test_an_upgrade_passes_where_the_operator_lets_unscanned_pass(
    llm: FakeLLM, url: str
) -> None:
    """The verdict still says that nobody read what follows."""
    headers = {"connection": "upgrade", "upgrade": "something"}
    with Guard(KeywordScorer(), policy=Policy(on_unscanned="allow")) as guard:
        async with guarded_client(guard, base_url=url) as client:
            response = await client.get("/ws", headers=headers)
    assert response.extensions["guard"].status == "unscanned"
    assert len(llm.received) == 1


# -- streams and cancellation ----------------------------------------------------------------------


async def test_a_streamed_response_stays_a_stream(
    face: Face, guard: Guard, llm: FakeLLM, url: str
) -> None:
    """The first words arrive while the server holds the rest back."""
    llm.more.clear()
    client = face.client(guard, base_url=url)
    options = {"json": {**chat(BENIGN), "stream": True}}

    def read() -> int:
        with client.stream("POST", CHAT, **options) as response:
            lines = response.iter_lines()
            assert "Paris" in next(lines)
            llm.more.set()
            return sum(1 for line in lines if line)

    async def read_later() -> int:
        async with client.stream("POST", CHAT, **options) as response:
            lines = response.aiter_lines()
            assert "Paris" in await anext(lines)
            llm.more.set()
            return len([line async for line in lines if line])

    assert (await asyncio.to_thread(read) if face.sync else await read_later()) == 5
    await face.close(client)


async def test_cancelling_a_call_cancels_its_scoring(llm: FakeLLM, url: str) -> None:
    """The cancellation reaches the guard while the model is still busy, and nothing is sent."""
    go, asked, cancelled = threading.Event(), asyncio.Event(), asyncio.Event()

    class Slow(KeywordScorer):
        def score(self, windows: Sequence[Window]) -> Sequence[float]:
            go.wait(timeout=10)
            return super().score(windows)

    class Watched(Guard):
        async def check_body(self, body: bytes, **about: Any) -> Verdict:
            asked.set()
            try:
                return await super().check_body(body, **about)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    with Watched(Slow()) as guard:
        async with guarded_client(guard, base_url=url) as client:
            call = asyncio.create_task(client.post(CHAT, json=chat(BENIGN)))
            await asked.wait()
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert cancelled.is_set()
        go.set()
    assert llm.received == []


# -- transports by themselves ----------------------------------------------------------------------


async def test_the_transport_works_by_itself(guard: Guard, llm: FakeLLM, url: str) -> None:
    """`GuardTransport` is a real httpx transport, with httpx's own behind it by default."""
    transport = GuardTransport(guard)
    assert isinstance(transport, httpx.AsyncBaseTransport)
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        assert (await client.post(CHAT, json=chat(ATTACK))).status_code == 400
        assert (await client.post(CHAT, json=chat(BENIGN))).status_code == 200
    assert len(llm.received) == 1


async def test_each_twin_is_a_transport_of_its_library(face: Face, guard: Guard) -> None:
    """`guard_transport` makes the one that fits; httpx and httpx2 cannot share one."""
    module = face.module
    transport: Any = guard_transport(guard, library=face.library, sync=face.sync)  # type: ignore[call-overload]
    base = module.BaseTransport if face.sync else module.AsyncBaseTransport
    assert isinstance(transport, base)
    await face.close(transport)


async def test_closing_the_client_closes_what_is_behind_the_guard(guard: Guard, face: Face) -> None:
    """Entering, leaving and closing reach the transport that was wrapped."""
    calls: list[str] = []

    class Sync(face.module.BaseTransport):  # type: ignore[name-defined, misc]
        def __enter__(self) -> Any:
            calls.append("enter")
            return self

        def __exit__(self, *error: object) -> None:
            calls.append("exit")

        def close(self) -> None:
            calls.append("close")

    class Async(face.module.AsyncBaseTransport):  # type: ignore[name-defined, misc]
        async def __aenter__(self) -> Any:
            calls.append("enter")
            return self

        async def __aexit__(self, *error: object) -> None:
            calls.append("exit")

        async def aclose(self) -> None:
            calls.append("close")

    client = face.client(guard, transport=Sync() if face.sync else Async())
    if face.sync:
        with client:
            pass
    else:
        async with client:
            pass
    await face.close(face.client(guard, transport=Sync() if face.sync else Async()))
    assert calls == ["enter", "exit", "close"]
