"""The guarded client inside the real OpenAI SDK, async and sync, on httpx2 and on legacy httpx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import openai
import pytest

from bertguard import Guard
from bertguard.client import guard_client, guarded_client
from bertguard.scoring import Window
from loopback import ANSWER, FakeLLM, serve
from support import ATTACK, BENIGN, KeywordScorer

TOOL_CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "fetch", "arguments": '{"url": "http://example.test"}'},
        }
    ],
}


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

    def __init__(
        self, url: str, guard: Guard, library: Literal["httpx", "httpx2"], sync: bool
    ) -> None:
        self.sync = sync
        self.attempts = 0
        hook: Callable[..., object] = self._count if sync else self._count_later
        http_client: Any = guarded_client(  # type: ignore[call-overload]
            guard, library=library, sync=sync, event_hooks={"request": [hook]}
        )
        make: Any = openai.OpenAI if sync else openai.AsyncOpenAI
        self.client = make(api_key="key", base_url=f"{url}/v1", http_client=http_client)

    def _count(self, request: object) -> None:
        self.attempts += 1

    async def _count_later(self, request: object) -> None:
        self.attempts += 1

    async def chat(self, messages: Sequence[object], **options: object) -> Any:
        create = self.client.chat.completions.create
        if self.sync:
            return await asyncio.to_thread(create, model="m", messages=messages, **options)
        return await create(model="m", messages=messages, **options)

    async def stream(self, messages: Sequence[object], on_first: Callable[[], None]) -> str:
        words: list[str] = []
        chunks = await self.chat(messages, stream=True)

        def take(chunk: Any) -> None:
            if not words:
                on_first()
            words.append(chunk.choices[0].delta.content)

        def drain() -> None:
            for chunk in chunks:
                take(chunk)

        if self.sync:
            await asyncio.to_thread(drain)
        else:
            async for chunk in chunks:
                take(chunk)
        return "".join(words)

    async def close(self) -> None:
        closing = self.client.close()
        if not self.sync:
            await closing


@pytest.fixture(
    params=[("httpx2", False), ("httpx2", True), ("httpx", False), ("httpx", True)],
    ids=lambda p: f"{p[0]}-{'sync' if p[1] else 'async'}",
)
def make_sdk(request: pytest.FixtureRequest, server: tuple[FakeLLM, str]) -> Callable[[Guard], Sdk]:
    library, sync = request.param
    return lambda guard: Sdk(server[1], guard, library, sync)


async def test_a_benign_chat_is_answered(
    make_sdk: Callable[[Guard], Sdk], guard: Guard, llm: FakeLLM
) -> None:
    """The call returns the model's answer; the verdict is beside the raw response."""
    sdk = make_sdk(guard)
    answer = await sdk.chat([{"role": "user", "content": BENIGN}])
    await sdk.close()
    assert answer.choices[0].message.content == ANSWER
    assert sdk.attempts == len(llm.received) == 1
    assert llm.received[0].json()["messages"] == [{"role": "user", "content": BENIGN}]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ATTACK}],
        [{"role": "user", "content": ATTACK}, {"role": "user", "content": BENIGN}],
        [{"role": "user", "content": [{"type": "text", "text": t} for t in (BENIGN, ATTACK)]}],
        [
            {"role": "user", "content": BENIGN},
            TOOL_CALL,
            {"role": "tool", "tool_call_id": "call_1", "content": ATTACK},
        ],
        [
            TOOL_CALL,
            {
                "role": "tool",
                "tool_call_id": "call_1",
                "content": [{"type": "text", "text": ATTACK}],
            },
        ],
    ],
    ids=["user", "earlier-turn", "parts", "tool-result", "tool-result-parts"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_attack_is_the_sdks_own_error_after_one_attempt(
    make_sdk: Callable[[Guard], Sdk],
    guard: Guard,
    llm: FakeLLM,
    messages: list[dict[str, object]],
    stream: bool,
) -> None:
    """`BadRequestError` with its code and message, no retry, and nothing reached the server."""
    sdk = make_sdk(guard)
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat(messages, stream=stream)
    await sdk.close()
    error = caught.value
    assert (error.status_code, error.code) == (400, "content_filter")
    body = error.body
    assert isinstance(body, dict)
    assert body["message"]
    assert body["message"] in error.message
    assert ATTACK not in str(error)
    assert error.response.extensions["guard"].blocked
    assert sdk.attempts == 1
    assert llm.received == []


async def test_what_the_application_and_the_model_wrote_passes(
    make_sdk: Callable[[Guard], Sdk], guard: Guard, llm: FakeLLM
) -> None:
    """System, developer and assistant turns are trusted in the client, tool calls included."""
    sdk = make_sdk(guard)
    call = json.loads(json.dumps(TOOL_CALL))
    call["tool_calls"][0]["function"]["arguments"] = json.dumps({"text": ATTACK})
    messages = [
        {"role": "system", "content": f"Refuse this: {ATTACK}"},
        {"role": "developer", "content": ATTACK},
        {"role": "assistant", "content": f'You asked me to "{ATTACK}".'},
        call,
        {"role": "tool", "tool_call_id": "call_1", "content": BENIGN},
        {"role": "user", "content": BENIGN},
    ]
    answer = await sdk.chat(messages)
    await sdk.close()
    assert answer.choices[0].message.content == ANSWER
    assert llm.received[0].json()["messages"] == messages


async def test_a_stream_arrives_word_by_word(
    make_sdk: Callable[[Guard], Sdk], guard: Guard, llm: FakeLLM
) -> None:
    """The first chunk is there while the server still holds back the last ones."""
    llm.more.clear()
    sdk = make_sdk(guard)
    assert await sdk.stream([{"role": "user", "content": BENIGN}], llm.more.set) == ANSWER
    await sdk.close()


async def test_a_guard_that_is_not_available_is_one_attempt_too(
    make_sdk: Callable[[Guard], Sdk], llm: FakeLLM
) -> None:
    """The SDK retries a 503 unless it is told not to; here it is told."""

    class Broken(KeywordScorer):
        def score(self, windows: Sequence[Window]) -> Sequence[float]:
            raise RuntimeError("no model")

    with Guard(Broken()) as guard:
        sdk = make_sdk(guard)
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.chat([{"role": "user", "content": BENIGN}])
        await sdk.close()
    assert caught.value.status_code == 503
    assert sdk.attempts == 1
    assert llm.received == []


async def test_the_raw_response_carries_the_verdict(
    guard: Guard, llm: FakeLLM, server: tuple[FakeLLM, str]
) -> None:
    """`with_raw_response` leads to `http_response.extensions["guard"]`."""
    http_client = guarded_client(guard, library="httpx2")
    async with openai.AsyncOpenAI(
        api_key="key", base_url=f"{server[1]}/v1", http_client=http_client
    ) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": BENIGN}]
        )
    assert raw.http_response.extensions["guard"].dialect == "openai.chat"


async def test_the_sdks_own_http_client_can_be_guarded(
    guard: Guard, llm: FakeLLM, server: tuple[FakeLLM, str]
) -> None:
    """`DefaultAsyncHttpxClient` keeps the SDK's timeouts and limits, and gains the guard."""
    http_client = guard_client(openai.DefaultAsyncHttpxClient(), guard)
    async with openai.AsyncOpenAI(
        api_key="key", base_url=f"{server[1]}/any/base", http_client=http_client
    ) as client:
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": ATTACK}]
            )
    assert llm.received == []
