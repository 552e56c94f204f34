"""What FastAPI's models and the SDKs' own types read in a request, the guard has read, too.

As in `test_differential.py`: where the attack is visible to that reader, the verdict is not allow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from random import Random
from typing import Annotated, Any
from urllib.parse import urlencode

import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_message_create_params
from anthropic.types.messages import batch_create_params
from cohere.types import ChatMessageV2, Document, Message, Tool, ToolResult, ToolV2
from fastapi import Body, FastAPI, Form
from google.genai import types as genai
from hypothesis import given, settings
from hypothesis import strategies as st
from mistralai.client.models import ChatCompletionRequest, FIMCompletionRequest
from ollama._types import ChatRequest, EmbedRequest, GenerateRequest
from openai.types import completion_create_params, embedding_create_params, moderation_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from bertguard import Guard
from rawasgi import exchange, http_scope
from support import ATTACK, BENIGN, KeywordScorer
from typed import sample
from wild import CASES, HOLDERS, visible

TEXTS = (ATTACK, BENIGN, BENIGN, BENIGN, "a", "id-1", f"{BENIGN} {ATTACK}")
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as loaded:
        yield loaded


# -- FastAPI ---------------------------------------------------------------------------------------


class Inner(BaseModel):
    """A model inside a model, with an alias and with whatever else comes."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)
    note: str | None = None
    tags: list[str] = []
    given: str = Field("", alias="givenName")


class Question(BaseModel):
    """A body as an application would declare it."""

    text: str = ""
    role: str = "user"
    items: list[str] = []
    inner: Inner | None = None
    more: dict[str, Any] = {}
    rows: list[Inner] = []
    either: int | str | list[str] | None = None


seen: list[object] = []
app = FastAPI()


@app.post("/str")
async def plain(text: Annotated[str, Body()]) -> None:
    seen.append(text)


@app.post("/embedded")
async def embedded(
    text: Annotated[str, Body(embed=True)], count: Annotated[int, Body()] = 0
) -> None:
    seen.append(text)


@app.post("/list")
async def listed(items: Annotated[list[str], Body()]) -> None:
    seen.append(items)


@app.post("/model")
async def model(question: Question) -> None:
    seen.append(question.model_dump())


@app.post("/models")
async def models(questions: list[Question]) -> None:
    seen.append([question.model_dump() for question in questions])


@app.post("/two")
async def two(first: Question, second: Inner, q: str = "") -> None:
    seen.append([first.model_dump(), second.model_dump(), q])


@app.post("/dict")
async def free(document: dict[str, Any]) -> None:
    seen.append(document)


@app.post("/any")
async def anything(document: Annotated[Any, Body()]) -> None:
    seen.append(document)


@app.post("/ask/{question}")
async def asked(question: str, more: Annotated[list[str], Body()], q: str = "") -> None:
    seen.append([question, q, more])


@app.post("/form")
async def form(items: Annotated[list[str], Form()], text: Annotated[str, Form()] = "") -> None:
    seen.append([text, items])


@app.post("/form-model")
async def form_model(data: Annotated[Inner, Form()]) -> None:
    seen.append(data.model_dump())


BODIES: dict[str, Any] = {
    "/str": str,
    "/embedded": create_model("Embedded", text=(str, ...), count=(int, 0)),
    "/list": list[str],
    "/model": Question,
    "/models": list[Question],
    "/two": create_model("Two", first=(Question, ...), second=(Inner, ...)),
    "/dict": Question,
    "/any": list[Question] | Question | str,
}


async def seen_by_fastapi(
    path: str, body: bytes, headers: Mapping[str, str], query: str = ""
) -> object:
    """What the function behind a route is called with; None where FastAPI refuses."""
    seen.clear()
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    try:
        await exchange(app, http_scope(path, headers=pairs, query=query.encode()), [body])
    except UnicodeDecodeError:
        return None  # FastAPI's own report of a body that it refuses, where that is no UTF-8
    return seen[0] if seen else None


@settings(max_examples=CASES)
@given(
    seed=SEEDS,
    path=st.sampled_from(list(BODIES)),
    extra=HOLDERS,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"]),
    content_type=st.sampled_from(
        [
            "application/json",
            "application/problem+json",
            "Application/JSON; charset=latin-1",
            "application/json; charset=utf-7",
            "text/plain",
            "",
        ]
    ),
    query=st.sampled_from(["", f"q={BENIGN}", "q=" + ATTACK.replace(" ", "+")]),
)
async def test_fastapi_bodies(
    guard: Guard,
    *,
    seed: int,
    path: str,
    extra: object,
    encoding: str,
    content_type: str,
    query: str,
) -> None:
    """Strings, lists, nested models, several body parameters and free dictionaries."""
    document = sample(BODIES[path], Random(seed), TEXTS)
    if isinstance(document, dict):
        document.setdefault("more", extra)
    body = json.dumps(document).encode(encoding)
    headers = {"content-type": content_type} if content_type else {}
    query = query.replace(" ", "+")
    if visible(await seen_by_fastapi(path, body, headers, query)):
        verdict = await guard.check_body(body, path=path, headers=headers, query=query)
        assert verdict.blocked, (path, document, verdict)


@settings(max_examples=CASES)
@given(
    path=st.sampled_from(["/form", "/form-model"]),
    fields=st.lists(
        st.tuples(
            st.sampled_from(["text", "items", "note", "tags", "givenName", "x"]),
            st.sampled_from(TEXTS),
        ),
        min_size=1,
        max_size=5,
    ),
    multipart=st.booleans(),
    question=st.sampled_from(["a", "a b", ATTACK]),
)
async def test_fastapi_forms_and_paths(
    guard: Guard, path: str, fields: list[tuple[str, str]], multipart: bool, question: str
) -> None:
    """Form fields, form models and parameters of the path."""
    if multipart:
        parts = "".join(
            f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields
        )
        body, kind = f"{parts}--x--\r\n".encode(), "multipart/form-data; boundary=x"
    else:
        body, kind = urlencode(fields).encode(), "application/x-www-form-urlencoded"
    headers = {"content-type": kind}
    if visible(await seen_by_fastapi(path, body, headers)):
        assert (await guard.check_body(body, path=path, headers=headers)).blocked, (path, fields)
    path, body = f"/ask/{question}", json.dumps([value for _, value in fields]).encode()
    headers = {"content-type": "application/json"}
    if visible(await seen_by_fastapi(path, body, headers)):
        assert (await guard.check_body(body, path=path, headers=headers)).blocked, (path, fields)


# -- the SDKs' types -------------------------------------------------------------------------------

GEMINI = create_model(
    "Gemini",
    contents=(list[genai.Content], ...),
    systemInstruction=(genai.Content | None, None),
    tools=(list[genai.Tool] | None, None),
    generationConfig=(genai.GenerationConfig | None, None),
    cachedContent=(str | None, None),
)
COHERE = create_model(
    "Cohere",
    messages=(list[ChatMessageV2], ...),
    documents=(list[str | Document] | None, None),
    tools=(list[ToolV2] | None, None),
)
COHERE_1 = create_model(
    "Cohere1",
    message=(str, ...),
    preamble=(str | None, None),
    chat_history=(list[Message] | None, None),
    documents=(list[dict[str, str]] | None, None),
    tools=(list[Tool] | None, None),
    tool_results=(list[ToolResult] | None, None),
)
SDKS: dict[str, tuple[str, Any]] = {
    "openai chat": (
        "/v1/chat/completions",
        chat_create_params.CompletionCreateParamsNonStreaming,
    ),
    "openai responses": (
        "/v1/responses",
        response_create_params.ResponseCreateParamsNonStreaming,
    ),
    "openai completions": (
        "/v1/completions",
        completion_create_params.CompletionCreateParamsNonStreaming,
    ),
    "openai embeddings": ("/v1/embeddings", embedding_create_params.EmbeddingCreateParams),
    "openai moderations": ("/v1/moderations", moderation_create_params.ModerationCreateParams),
    "anthropic": ("/v1/messages", message_create_params.MessageCreateParamsNonStreaming),
    "anthropic beta": (
        "/v1/messages",
        beta_message_create_params.MessageCreateParamsNonStreaming,
    ),
    "anthropic count": (
        "/v1/messages/count_tokens",
        message_count_tokens_params.MessageCountTokensParams,
    ),
    "anthropic batch": ("/v1/messages/batches", batch_create_params.BatchCreateParams),
    "ollama chat": ("/api/chat", ChatRequest),
    "ollama generate": ("/api/generate", GenerateRequest),
    "ollama embed": ("/api/embed", EmbedRequest),
    "gemini": ("/v1beta/models/m:generateContent", GEMINI),
    "gemini stream": ("/v1beta/models/m:streamGenerateContent", GEMINI),
    "cohere 2": ("/v2/chat", COHERE),
    "cohere 1": ("/v1/chat", COHERE_1),
    "mistral": ("/v1/chat/completions", ChatCompletionRequest),
    "mistral fim": ("/v1/fim/completions", FIMCompletionRequest),
}


@cache
def reader(name: str) -> TypeAdapter[Any]:
    """The SDK's type as a reader of JSON."""
    return TypeAdapter(SDKS[name][1])


def read(name: str, body: bytes) -> object:
    """What the SDK's type sees in a body; None where it refuses."""
    try:
        return whole(reader(name).validate_json(body))
    except (ValidationError, ValueError, TypeError):
        return None


def whole(value: object) -> object:
    """Models as dictionaries, and iterators, which pydantic reads late, as lists."""
    if isinstance(value, BaseModel):
        # Not `model_dump`: Ollama's images would look for files.
        return whole({**value.__dict__, **(value.model_extra or {})})
    if isinstance(value, Mapping):
        return {key: whole(inner) for key, inner in value.items()}
    if isinstance(value, str | bytes | int | float | None):
        return value
    if hasattr(value, "__iter__"):
        return [whole(inner) for inner in value]
    return None


@settings(max_examples=2 * CASES)
@given(name=st.sampled_from(list(SDKS)), seed=SEEDS, extra=st.none() | HOLDERS)
async def test_types_of_the_sdks(guard: Guard, name: str, seed: int, extra: object) -> None:
    """Whatever the SDK's types allow, in every field that they have."""
    path, kind = SDKS[name]
    document = sample(kind, Random(seed), TEXTS)
    if extra is not None:
        document["metadata"] = extra
    body = json.dumps(document).encode()
    if visible(read(name, body)):
        verdict = await guard.check_body(body, path=path)
        assert verdict.blocked, (name, document, verdict)


@pytest.mark.parametrize("name", SDKS)
def test_the_types_read_what_is_made_of_them(name: str) -> None:
    """Enough of the requests are read by the SDK's type, and enough of those hold the attack."""
    bodies = [
        json.dumps(sample(SDKS[name][1], Random(seed), TEXTS)).encode() for seed in range(100)
    ]
    found = [read(name, body) for body in bodies]
    assert sum(document is not None for document in found) >= 15
    assert sum(map(visible, found)) >= 5
