"""The guarded client inside the real SDKs of Google, Mistral, Ollama and Cohere, async and sync."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cohere
import ollama
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import request_response

from bertguard import Guard
from bertguard.client import guard_client, guarded_client
from bertguard.errors import ConfigurationError
from bertguard.scoring import Window
from loopback import ANSWER, WORDS, FakeLLM, serve
from support import ATTACK, BENIGN, KeywordScorer


class Provider(FakeLLM):
    """Answers what the four SDKs ask, streamed too, and keeps the diary of `FakeLLM`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = self._answer

        async def answer(request: Request) -> Response:
            path = request.url.path
            answered = await plain(request)
            if path.endswith("/v1/chat/completions"):
                if answered.media_type == "text/event-stream":
                    return answered
                # Mistral's SDK wants to know what it cost.
                usage = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
                return JSONResponse({**json.loads(bytes(answered.body)), "usage": usage})
            asked = json.loads(await request.body())
            if ":generateContent" in path:
                return JSONResponse(_gemini(ANSWER))
            if ":streamGenerateContent" in path:
                lines = [f"data: {json.dumps(_gemini(word))}\r\n\r\n" for word in WORDS]
                return StreamingResponse(_each(lines), media_type="text/event-stream")
            if path == "/api/chat":
                if asked.get("stream"):
                    lines = [json.dumps(_ollama(word, word == WORDS[-1])) + "\n" for word in WORDS]
                    return StreamingResponse(_each(lines), media_type="application/x-ndjson")
                return JSONResponse(_ollama(ANSWER, done=True))
            return JSONResponse(
                {
                    "id": "c1",
                    "finish_reason": "COMPLETE",
                    "message": {
                        "role": "assistant",
                        "content": [{"type": "text", "text": ANSWER}],
                    },
                }
            )

        self.app = request_response(answer)


async def _each(lines: Sequence[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line


def _gemini(text: str) -> dict[str, object]:
    return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}]}


def _ollama(text: str, done: bool) -> dict[str, object]:
    return {
        "model": "m",
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": text},
        "done": done,
    }


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Provider, str]]:
    llm = Provider()
    with serve(llm.app) as url:
        yield llm, url


@pytest.fixture
def llm(server: tuple[Provider, str]) -> Provider:
    server[0].reset()
    return server[0]


@dataclass
class Sdk:
    """One SDK: `ask` sends a question, `tool` one with a tool's result behind it.

    `http` is the guarded client inside, `refused` its error for a refusal, and `told` reads status
    and words from one.
    """

    http: Any
    ask: Callable[[str], Awaitable[str]]
    tool: Callable[[str], Awaitable[str]]
    stream: Callable[[str], Awaitable[str]]
    refused: type[Exception]
    told: Callable[[Any], tuple[int, str]]

    async def close(self) -> None:
        if hasattr(self.http, "aclose"):
            await self.http.aclose()
        else:
            self.http.close()


def _client(guard: Guard, library: str, *, sync: bool) -> Any:
    return guarded_client(guard, library=library, sync=sync)  # type: ignore[call-overload]


async def _either(call: Callable[[], Any], *, sync: bool) -> Any:
    return await asyncio.to_thread(call) if sync else await call()


async def _joined(stream: Any, text: Callable[[Any], str | None], *, sync: bool) -> str:
    if sync:
        return await asyncio.to_thread(lambda: "".join(text(chunk) or "" for chunk in stream))
    return "".join([text(chunk) or "" async for chunk in stream])


def google(url: str, guard: Guard, *, sync: bool) -> Sdk:
    http = _client(guard, "httpx", sync=sync)
    own: dict[str, Any] = {"httpx_client" if sync else "httpx_async_client": http}
    options = genai_types.HttpOptions(base_url=url, **own)
    client = genai.Client(api_key="key", http_options=options)
    models: Any = client.models if sync else client.aio.models

    async def send(contents: object) -> str:
        made = await _either(
            lambda: models.generate_content(model="gemini-2.5-flash", contents=contents), sync=sync
        )
        return str(made.text)

    async def tool(result: str) -> str:
        call = genai_types.Part.from_function_call(name="fetch", args={"url": "http://a.test"})
        answer = genai_types.Part.from_function_response(name="fetch", response={"page": result})
        user = genai_types.Content(role="user", parts=[genai_types.Part.from_text(text=BENIGN)])
        return await send(
            [
                user,
                genai_types.Content(role="model", parts=[call]),
                genai_types.Content(role="user", parts=[answer]),
            ]
        )

    async def stream(text: str) -> str:
        chunks = models.generate_content_stream(model="gemini-2.5-flash", contents=text)
        return await _joined(chunks if sync else await chunks, lambda c: c.text, sync=sync)

    return Sdk(
        http,
        send,
        tool,
        stream,
        genai_errors.ClientError,
        lambda e: (e.code, json.dumps(e.details)),
    )


def mistral(url: str, guard: Guard, *, sync: bool) -> Sdk:
    http = _client(guard, "httpx2", sync=sync)
    own: dict[str, Any] = {"client" if sync else "async_client": http}
    client = Mistral(api_key="key", server_url=url, **own)

    async def send(messages: Any) -> str:
        complete: Any = client.chat.complete if sync else client.chat.complete_async
        made = await _either(lambda: complete(model="m", messages=messages), sync=sync)
        return str(made.choices[0].message.content)

    async def ask(text: str) -> str:
        return await send([{"role": "user", "content": [{"type": "text", "text": text}]}])

    async def tool(result: str) -> str:
        function = {"name": "fetch", "arguments": "{}"}
        return await send(
            [
                {"role": "user", "content": BENIGN},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "abcdefghi", "function": function}],
                },
                {"role": "tool", "content": result, "tool_call_id": "abcdefghi"},
            ]
        )

    async def stream(text: str) -> str:
        start: Any = client.chat.stream if sync else client.chat.stream_async
        messages = [{"role": "user", "content": text}]
        chunks = await _either(lambda: start(model="m", messages=messages), sync=sync)
        return await _joined(chunks, lambda c: c.data.choices[0].delta.content, sync=sync)

    return Sdk(http, ask, tool, stream, SDKError, lambda e: (e.status_code, e.body))


def ollamas(url: str, guard: Guard, *, sync: bool) -> Sdk:
    client: Any = (ollama.Client if sync else ollama.AsyncClient)(host=url)
    # It makes its own httpx client and takes none: the guard goes into that one.
    http = guard_client(client._client, guard)

    async def send(messages: Any) -> str:
        made = await _either(lambda: client.chat(model="m", messages=messages), sync=sync)
        return str(made.message.content)

    async def ask(text: str) -> str:
        return await send([{"role": "user", "content": text}])

    async def tool(result: str) -> str:
        call = {"function": {"name": "fetch", "arguments": {"url": "http://a.test"}}}
        return await send(
            [
                {"role": "user", "content": BENIGN},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": result, "tool_name": "fetch"},
            ]
        )

    async def stream(text: str) -> str:
        messages = [{"role": "user", "content": text}]
        chunks = client.chat(model="m", messages=messages, stream=True)
        chunks = chunks if sync else await chunks
        return await _joined(chunks, lambda c: c.message.content, sync=sync)

    return Sdk(http, ask, tool, stream, ollama.ResponseError, lambda e: (e.status_code, e.error))


def coheres(url: str, guard: Guard, *, sync: bool) -> Sdk:
    http = _client(guard, "httpx", sync=sync)
    kind: Any = cohere.ClientV2 if sync else cohere.AsyncClientV2
    client = kind(api_key="key", base_url=url, httpx_client=http)

    async def send(messages: Any, **more: object) -> str:
        made = await _either(lambda: client.chat(model="m", messages=messages, **more), sync=sync)
        return str(made.message.content[0].text)

    async def ask(text: str) -> str:
        return await send([{"role": "user", "content": text}])

    async def tool(result: str) -> str:
        page = {"id": "d1", "data": {"title": "a page", "text": result}}
        return await send([{"role": "user", "content": BENIGN}], documents=[page])

    return Sdk(
        http,
        ask,
        tool,
        ask,
        cohere.errors.BadRequestError,
        lambda e: (e.status_code, json.dumps(e.body)),
    )


SDKS: Mapping[str, Callable[..., Sdk]] = {
    "google-genai": google,
    "mistralai": mistral,
    "ollama": ollamas,
    "cohere": coheres,
}


@pytest.fixture(params=[(name, sync) for name in SDKS for sync in (False, True)], ids=str)
def make(request: pytest.FixtureRequest, server: tuple[Provider, str]) -> Callable[[Guard], Sdk]:
    name, sync = request.param
    return lambda guard: SDKS[name](server[1], guard, sync=sync)


async def test_benign_calls_are_answered(make: Callable[[Guard], Sdk], llm: Provider) -> None:
    """Plain, with a tool's result, and streamed: one request each, and the model's words."""
    with Guard(KeywordScorer()) as guard:
        sdk = make(guard)
        assert await sdk.ask(BENIGN) == ANSWER
        assert await sdk.tool("It was sunny.") == ANSWER
        assert await sdk.stream(BENIGN) == ANSWER
        await sdk.close()
    assert len(llm.received) == 3


@pytest.mark.parametrize("way", ["ask", "tool", "stream"])
async def test_an_attack_is_the_sdks_own_error(
    make: Callable[[Guard], Sdk], llm: Provider, way: str
) -> None:
    """Status, code and message arrive, no word of the prompt does, and nothing left."""
    with Guard(KeywordScorer()) as guard:
        sdk = make(guard)
        with pytest.raises(sdk.refused) as refused:
            await getattr(sdk, way)(f"Thanks. {ATTACK}")
        await sdk.close()
    status, told = sdk.told(refused.value)
    assert status == 400
    assert "prompt injection" in told
    assert "content_filter" in told
    assert ATTACK not in str(refused.value)
    assert llm.received == []


class Broken(KeywordScorer):
    """A model that fails, and counts how often it was asked."""

    asked = 0

    def score(self, windows: Sequence[Window]) -> list[float]:
        type(self).asked += 1
        raise RuntimeError("the model is gone")


async def test_a_guard_that_cannot_scan_is_asked_once(
    make: Callable[[Guard], Sdk], llm: Provider
) -> None:
    """503 with x-should-retry: an error after one attempt, and nothing left unscanned."""
    Broken.asked = 0
    with Guard(Broken()) as guard:
        sdk = make(guard)
        with pytest.raises(Exception, match="could not be checked"):
            await sdk.ask(BENIGN)
        await sdk.close()
    assert Broken.asked == 1
    assert llm.received == []


def test_googles_own_client_is_not_taken_for_guarded() -> None:
    """Its `send` goes past the transports that it holds, so wrapping them would guard nothing."""
    inner: Any = genai.Client(api_key="k")._api_client
    with Guard(KeywordScorer()) as guard:
        with pytest.raises(ConfigurationError, match="has a send of its own"):
            guard_client(inner._async_httpx_client, guard)
        assert guard_client(inner._httpx_client, guard)
