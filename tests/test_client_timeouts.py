"""What the real SDKs wait for is the same with the guarded client in them as without."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal

import anthropic
import cohere
import httpx
import httpx2
import ollama
import openai
import pytest
from google import genai
from google.genai import types as genai_types
from mistralai.client import Mistral

from bertguard import Guard
from bertguard.client import guard_client, guarded_client
from support import BENIGN, KeywordScorer

Library = Literal["httpx", "httpx2"]
MESSAGES: Any = [{"role": "user", "content": BENIGN}]


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as guard:
        yield guard


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, float | None]]:
    """The timeouts of what would go over the wire, in either library; nothing is sent."""
    timeouts: list[Mapping[str, float | None]] = []
    for library in (httpx, httpx2):

        def answer(_: object, request: Any, library: Any = library) -> Any:
            timeouts.append(request.extensions["timeout"])
            return library.Response(400, json={})

        async def answer_later(_: object, request: Any, answer: Any = answer) -> Any:
            return answer(_, request)

        monkeypatch.setattr(library.HTTPTransport, "handle_request", answer)
        monkeypatch.setattr(library.AsyncHTTPTransport, "handle_async_request", answer_later)
    return timeouts


# Each makes the SDK with `http`, or as it comes where that is None, and asks it something.


async def _either(call: Callable[[], Any], *, sync: bool) -> None:
    with contextlib.suppress(Exception):  # each SDK has its own for a 400
        await (asyncio.to_thread(call) if sync else call())


async def ask_openai(http: Any, *, sync: bool) -> None:
    client: Any = (openai.OpenAI if sync else openai.AsyncOpenAI)(api_key="k", http_client=http)
    await _either(lambda: client.chat.completions.create(model="m", messages=MESSAGES), sync=sync)


async def ask_anthropic(http: Any, *, sync: bool) -> None:
    make: Any = anthropic.Anthropic if sync else anthropic.AsyncAnthropic
    client = make(api_key="k", http_client=http)
    await _either(
        lambda: client.messages.create(model="m", max_tokens=9, messages=MESSAGES), sync=sync
    )


async def ask_mistral(http: Any, *, sync: bool) -> None:
    own: dict[str, Any] = {"client" if sync else "async_client": http}
    chat = Mistral(api_key="k", **own).chat
    ask: Any = chat.complete if sync else chat.complete_async
    await _either(lambda: ask(model="m", messages=MESSAGES), sync=sync)


async def ask_cohere(http: Any, *, sync: bool) -> None:
    make: Any = cohere.ClientV2 if sync else cohere.AsyncClientV2
    client = make(api_key="k", httpx_client=http)
    await _either(lambda: client.chat(model="m", messages=MESSAGES), sync=sync)


def _google(http: Any, *, sync: bool) -> Any:
    own: dict[str, Any] = {"httpx_client" if sync else "httpx_async_client": http}
    return genai.Client(api_key="k", http_options=genai_types.HttpOptions(**own))


async def ask_google(http: Any, *, sync: bool) -> None:
    client = _google(http, sync=sync)
    face = client if sync else client.aio
    await _either(lambda: face.models.generate_content(model="m", contents=BENIGN), sync=sync)


async def ask_interactions(http: Any, *, sync: bool) -> None:
    client = _google(http, sync=sync)  # it closes what it made when nobody holds it any more
    await _either(
        lambda: (client if sync else client.aio).interactions.create(model="m", input=BENIGN),
        sync=sync,
    )


Ask = Callable[..., Awaitable[None]]
# What README and `guarded_client` say is to be passed.
CASES: list[tuple[Ask, Library, dict[str, object]]] = [
    (ask_openai, "httpx2", {}),
    (ask_openai, "httpx", {}),
    (ask_anthropic, "httpx2", {}),
    (ask_mistral, "httpx2", {}),
    (ask_cohere, "httpx", {"timeout": 300}),
    (ask_google, "httpx", {}),
    (ask_google, "httpx2", {}),
    (ask_interactions, "httpx", {"timeout": None}),
    (ask_interactions, "httpx2", {"timeout": None}),
]


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].__name__}-{case[1]}")
async def test_an_sdk_waits_as_long_as_without_the_guard(
    guard: Guard,
    sent: list[Mapping[str, float | None]],
    case: tuple[Ask, Library, dict[str, object]],
    sync: bool,
) -> None:
    """For every phase of a request: connecting, writing, the answer, a place in the pool."""
    ask, library, options = case
    make: Any = guarded_client
    for http in (None, make(guard, library=library, sync=sync, **options)):
        await ask(http, sync=sync)
    plain, guarded = sent
    assert guarded == plain


async def test_a_client_guarded_in_place_keeps_its_timeout(
    guard: Guard, sent: list[Mapping[str, float | None]]
) -> None:
    """Ollama makes its own client, which waits for ever."""
    for guarded in (False, True):
        client = ollama.AsyncClient()
        if guarded:
            guard_client(client._client, guard)
        with pytest.raises(ollama.ResponseError):
            await client.chat(model="m", messages=MESSAGES)
    plain, in_place = sent
    assert in_place == plain == dict.fromkeys(plain)


@pytest.mark.parametrize("ask", [ask_cohere, ask_interactions])
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_no_sdk_gives_up_after_five_seconds(
    guard: Guard, sent: list[Mapping[str, float | None]], ask: Ask, sync: bool
) -> None:
    """Those that leave the timeout to the client that they are given get a long one."""
    make: Any = guarded_client
    await ask(make(guard, sync=sync), sync=sync)
    assert sent == [{"connect": 5.0, "read": 600, "write": 600, "pool": 600}]
