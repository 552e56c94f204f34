"""The guarded client inside the real Anthropic SDK, async and sync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anthropic
import pytest
from anthropic import Middleware

from bertguard import Action, Channel, Guard, Policy, Thresholds
from bertguard.client import guard_client, guarded_client
from bertguard.errors import ConfigurationError
from bertguard.scoring import Window
from loopback import ANSWER, FakeLLM, serve
from support import ATTACK, BENIGN, KeywordScorer

TOOL_USE = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "toolu_1", "name": "fetch", "input": {"q": "x"}}],
}


def tool_result(content: object) -> dict[str, object]:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
    return {"role": "user", "content": [block]}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FakeLLM, str]]:
    llm = FakeLLM()
    with serve(llm.app) as url:
        yield llm, url


@pytest.fixture
def llm(server: tuple[FakeLLM, str]) -> FakeLLM:
    server[0].reset()
    return server[0]


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as guard:
        yield guard


class Sdk:
    """The SDK with a guarded client in it; both forms are used as the asynchronous one is."""

    def __init__(self, url: str, guard: Guard, sync: bool, **options: object) -> None:
        self.sync = sync
        self.attempts = 0
        hook: Callable[..., object] = self._count if sync else self._count_later
        http_client: Any = guarded_client(  # type: ignore[call-overload]
            guard, library="httpx2", sync=sync, event_hooks={"request": [hook]}
        )
        make: Any = anthropic.Anthropic if sync else anthropic.AsyncAnthropic
        self.client = make(api_key="key", base_url=url, http_client=http_client, **options)

    def _count(self, request: object) -> None:
        self.attempts += 1

    async def _count_later(self, request: object) -> None:
        self.attempts += 1

    async def message(self, messages: Sequence[object], **options: object) -> Any:
        asked = {"model": "m", "max_tokens": 9, "messages": messages, **options}
        if self.sync:
            return await asyncio.to_thread(self.client.messages.create, **asked)
        return await self.client.messages.create(**asked)

    async def stream(self, messages: Sequence[object], on_first: Callable[[], None]) -> str:
        asked = {"model": "m", "max_tokens": 9, "messages": messages}
        words: list[str] = []

        def take(word: str) -> None:
            if not words:
                on_first()
            words.append(word)

        def drain() -> None:
            with self.client.messages.stream(**asked) as stream:
                for word in stream.text_stream:
                    take(word)

        if self.sync:
            await asyncio.to_thread(drain)
        else:
            async with self.client.messages.stream(**asked) as stream:
                async for word in stream.text_stream:
                    take(word)
        return "".join(words)

    async def close(self) -> None:
        closing = self.client.close()
        if not self.sync:
            await closing


@pytest.fixture(params=[False, True], ids=["async", "sync"])
def make_sdk(request: pytest.FixtureRequest, server: tuple[FakeLLM, str]) -> Callable[..., Sdk]:
    sync: bool = request.param
    return lambda guard, **options: Sdk(server[1], guard, sync, **options)


async def test_a_benign_message_is_answered(
    make_sdk: Callable[..., Sdk], guard: Guard, llm: FakeLLM
) -> None:
    """The call returns the model's answer, and the server got what was written."""
    sdk = make_sdk(guard)
    answer = await sdk.message([{"role": "user", "content": BENIGN}], system=ATTACK)
    await sdk.close()
    assert answer.content[0].text == ANSWER
    assert sdk.attempts == len(llm.received) == 1
    assert llm.received[0].json()["system"] == ATTACK  # the application's own words


async def test_the_raw_response_says_that_a_request_was_flagged(
    make_sdk: Callable[..., Sdk], llm: FakeLLM
) -> None:
    """`with_raw_response` leads to `http_response.extensions["guard"]`."""
    flags = Policy(thresholds={channel: Thresholds(0.5, 1.0) for channel in Channel})
    with Guard(KeywordScorer(), policy=flags) as guard:
        sdk = make_sdk(guard)
        create = sdk.client.messages.with_raw_response.create
        asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": ATTACK}]}
        raw = await (asyncio.to_thread(create, **asked) if sdk.sync else create(**asked))
        await sdk.close()
    assert raw.http_response.extensions["guard"].action is Action.FLAG
    assert len(llm.received) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ATTACK}],
        [{"role": "user", "content": [{"type": "text", "text": t} for t in (BENIGN, ATTACK)]}],
        [TOOL_USE, tool_result(ATTACK)],
        [
            TOOL_USE,
            tool_result([{"type": "text", "text": BENIGN}, {"type": "text", "text": ATTACK}]),
        ],
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": ATTACK},
                    },
                    {"type": "text", "text": BENIGN},
                ],
            }
        ],
    ],
    ids=["user", "parts", "tool-result", "tool-result-parts", "document"],
)
async def test_an_attack_is_the_sdks_own_error_after_one_attempt(
    make_sdk: Callable[..., Sdk], guard: Guard, llm: FakeLLM, messages: list[dict[str, object]]
) -> None:
    """`BadRequestError` with Anthropic's error object, no retry, and nothing reached the server."""
    sdk = make_sdk(guard)
    with pytest.raises(anthropic.BadRequestError) as caught:
        await sdk.message(messages)
    with pytest.raises(anthropic.BadRequestError):
        await sdk.stream(messages, on_first=lambda: None)
    await sdk.close()
    error = caught.value
    body = error.body
    assert isinstance(body, dict)
    assert (error.status_code, body["type"]) == (400, "error")
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"]
    assert ATTACK not in str(error)
    assert error.response.extensions["guard"].blocked
    assert sdk.attempts == 2
    assert llm.received == []


async def test_a_stream_arrives_word_by_word(
    make_sdk: Callable[..., Sdk], guard: Guard, llm: FakeLLM
) -> None:
    """The first word is there while the server still holds back the last ones."""
    llm.more.clear()
    sdk = make_sdk(guard)
    assert await sdk.stream([{"role": "user", "content": BENIGN}], llm.more.set) == ANSWER
    await sdk.close()


async def test_a_guard_that_is_not_available_is_one_attempt_too(
    make_sdk: Callable[..., Sdk], llm: FakeLLM
) -> None:
    """The SDK retries a 503 unless it is told not to; here it is told."""

    class Broken(KeywordScorer):
        def score(self, windows: Sequence[Window]) -> Sequence[float]:
            raise RuntimeError("no model")

    with Guard(Broken()) as guard:
        sdk = make_sdk(guard)
        with pytest.raises(anthropic.InternalServerError) as caught:
            await sdk.message([{"role": "user", "content": BENIGN}])
        await sdk.close()
    assert caught.value.status_code == 503
    assert sdk.attempts == 1
    assert llm.received == []


async def test_the_sdks_own_middleware_works_with_the_guard(
    make_sdk: Callable[..., Sdk], guard: Guard, llm: FakeLLM
) -> None:
    """Middleware of the SDK sees the refusal as the provider's response; what it adds is scored."""
    statuses: list[int] = []

    def injected(request: Any) -> Any:
        body = {**request.json, "messages": [{"role": "user", "content": ATTACK}]}
        return request.copy(body=body)

    class Injects(Middleware):
        def handle(self, request: Any, call_next: Any) -> Any:
            response = call_next(injected(request))
            statuses.append(response.status_code)
            return response

        async def handle_async(self, request: Any, call_next: Any) -> Any:
            response = await call_next(injected(request))
            statuses.append(response.status_code)
            return response

    sdk = make_sdk(guard, middleware=[Injects()])
    with pytest.raises(anthropic.BadRequestError):
        await sdk.message([{"role": "user", "content": BENIGN}])
    await sdk.close()
    assert statuses == [400]
    assert llm.received == []


async def test_the_sdks_own_http_client_can_be_guarded(
    guard: Guard, llm: FakeLLM, server: tuple[FakeLLM, str]
) -> None:
    """`DefaultAsyncHttpxClient` keeps the SDK's timeouts and limits, and gains the guard."""
    http_client = guard_client(anthropic.DefaultAsyncHttpxClient(), guard)
    async with anthropic.AsyncAnthropic(
        api_key="key", base_url=server[1], http_client=http_client
    ) as client:
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(
                model="m", max_tokens=9, messages=[{"role": "user", "content": ATTACK}]
            )
    assert llm.received == []


def test_an_sdk_in_place_of_its_http_client_is_refused(guard: Guard) -> None:
    """The error says what to pass instead."""
    with (
        anthropic.Anthropic(api_key="key") as sdk,
        pytest.raises(ConfigurationError, match="the one that it takes as http_client"),
    ):
        guard_client(sdk, guard)  # type: ignore[type-var]
