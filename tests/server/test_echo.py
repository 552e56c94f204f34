"""The echo speaks to the real SDKs, streamed and whole."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from bertguard.server.echo import create_echo
from loopback import serve


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(create_echo()) as base:
        yield base


@pytest.fixture
def openai(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic(url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def test_chat_completion_repeats_the_last_user_text_and_owns_up_to_being_an_echo(
    openai: OpenAI,
) -> None:
    """The last user turn comes back and the model's name is not the one that was asked for."""
    completion = openai.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "echo: first"},
            {"role": "user", "content": [{"type": "text", "text": "second, with  two spaces"}]},
        ],
    )
    assert completion.choices[0].message.content == "echo: second, with  two spaces"
    assert completion.model == "echo"
    # The SDK constructs without validating; this validates every field.
    ChatCompletion.model_validate(completion.model_dump())


def test_chat_completion_repeats_a_tool_result(openai: OpenAI) -> None:
    """A turn that ends in a tool result is answered with that result's text."""
    call = {"id": "call_1", "type": "function", "function": {"name": "web", "arguments": "{}"}}
    completion = openai.chat.completions.create(
        model="echo",
        messages=[
            {"role": "user", "content": "look it up"},
            {"role": "assistant", "content": None, "tool_calls": [call]},  # type: ignore[list-item]  # a plain dict
            {"role": "tool", "tool_call_id": "call_1", "content": "the page says hello"},
        ],
    )
    assert completion.choices[0].message.content == "echo: the page says hello"


async def test_chat_completion_streams_word_by_word_to_the_sdks_accumulator(url: str) -> None:
    """The SDK's own accumulator puts the chunks together: text, end, and usage where asked for."""
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client,
        client.chat.completions.stream(
            model="echo",
            messages=[{"role": "user", "content": "one two three"}],
            stream_options={"include_usage": True},
        ) as stream,
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "echo: one two three"
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None
    assert final.usage.prompt_tokens == 3
    assert kinds.count("content.delta") >= 4


def test_chat_chunks_are_valid_and_carry_no_usage_that_nobody_asked_for(openai: OpenAI) -> None:
    """Every chunk has one choice and the same id, and the stream ends with a finish reason."""
    chunks = list(
        openai.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "a b"}], stream=True
        )
    )
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.model_dump())
    assert {len(chunk.choices) for chunk in chunks} == {1}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]


@pytest.mark.parametrize(
    "given",
    [
        "look at this",
        [{"role": "user", "content": [{"type": "input_text", "text": "look at this"}]}],
        [
            {"role": "user", "content": "call it"},
            {"type": "function_call", "call_id": "c", "name": "web", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "look at this"},
        ],
    ],
    ids=["string", "parts", "tool output"],
)
def test_responses_repeat_string_parts_and_tool_outputs(openai: OpenAI, given: object) -> None:
    """Each form of `input` reaches the answer, in a response that is valid field by field."""
    response = openai.responses.create(model="gpt-5", input=given)  # type: ignore[call-overload]  # several forms at once
    assert response.output_text == "echo: look at this"
    assert response.model == "echo"
    Response.model_validate(response.model_dump())


async def test_responses_stream_in_the_order_the_sdk_insists_on(url: str) -> None:
    """The SDK's accumulator, which rejects events out of order, ends with the whole text."""
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client,
        client.responses.stream(model="echo", input="one two") as stream,
    ):
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == "echo: one two"
    assert final.status == "completed"
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_anthropic_message_repeats_text_and_tool_results(anthropic: Anthropic) -> None:
    """Text blocks and nested tool results of the last user turn come back."""
    message = anthropic.messages.create(
        model="some-model",
        max_tokens=100,
        messages=[
            {"role": "user", "content": "look it up"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "web", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [{"type": "text", "text": "the page"}],
                    },
                    {"type": "text", "text": "and a word"},
                ],
            },
        ],
    )
    Message.model_validate(message.model_dump())
    assert message.content[0].type == "text"
    assert message.content[0].text == "echo: the page\nand a word"
    assert message.model == "echo"
    assert message.stop_reason == "end_turn"


async def test_anthropic_stream_is_put_together_by_the_sdk(url: str) -> None:
    """The SDK's accumulator gets the text in pieces and ends with a complete message."""
    async with (
        AsyncAnthropic(base_url=url, api_key="none") as client,
        client.messages.stream(
            model="echo", max_tokens=100, messages=[{"role": "user", "content": "one two"}]
        ) as stream,
    ):
        pieces = [piece async for piece in stream.text_stream]
        final = await stream.get_final_message()
    assert len(pieces) == 3
    assert "".join(pieces) == "echo: one two"
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (2, 3)


def test_anthropic_event_names_stand_in_the_documented_order(url: str) -> None:
    """On the wire every event is named, in the order of the API's documentation."""
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    lines = httpx.post(f"{url}/v1/messages", json=body).text.splitlines()
    assert [line.removeprefix("event: ") for line in lines if line.startswith("event: ")] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_tokens_are_counted_and_models_listed_for_both_sdks(
    openai: OpenAI, anthropic: Anthropic
) -> None:
    """`count_tokens` counts words; either SDK lists one model, the echo."""
    counted = anthropic.messages.count_tokens(
        model="echo", messages=[{"role": "user", "content": "three words here"}]
    )
    assert counted.input_tokens == 3
    assert [model.id for model in openai.models.list()] == ["echo"]
    assert [model.id for model in anthropic.models.list()] == ["echo"]


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[]", 400),
        ("/v1/chat/completions", b'{"messages": []}', 400),
        ("/v1/responses", b"{}", 400),
        ("/v1/nothing", b"{}", 404),
    ],
)
def test_what_cannot_be_answered_is_an_openai_error(
    url: str, path: str, content: bytes, status: int
) -> None:
    """Bad bodies and unknown routes are errors in OpenAI's shape."""
    response = httpx.post(url + path, content=content)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_what_cannot_be_answered_is_an_anthropic_error_on_its_routes(url: str) -> None:
    """The Anthropic routes answer a bad body in Anthropic's shape."""
    response = httpx.post(f"{url}/v1/messages", content=b"{}")
    assert response.status_code == 400
    assert response.json()["type"] == "error"
    assert response.json()["error"]["type"] == "invalid_request_error"
