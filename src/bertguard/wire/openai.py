"""OpenAI: chat completions, responses, legacy completions, embeddings and moderations.

Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import Callable

from bertguard.wire.collector import (
    ASSISTANT,
    DEFINITION,
    DEVELOPER,
    EMBEDDING,
    SYSTEM,
    TOOL_DATA,
    UNKNOWN,
    USER,
    USER_DATA,
    Collector,
    Link,
    Voice,
    word,
)
from bertguard.wire.media import read_media, take_opaque
from bertguard.wire.parts import read_content, read_part

VOICES: dict[str, Voice] = {
    "system": SYSTEM,
    "developer": DEVELOPER,
    "user": USER,
    "assistant": ASSISTANT,
    "model": ASSISTANT,
    "tool": TOOL_DATA,
    "function": TOOL_DATA,
}
# A prompt that only the model's own tokenizer could read: vLLM's and SGLang's words for it.
_PROMPT_IDS = ("prompt_token_ids", "token_ids", "input_ids")
# `inputs` is Mistral's word, `items` that of the Conversations API.
_ITEMS = ("input", "inputs", "items")
# Items of the Responses API that bring what a tool gave back.
_OUTPUTS = frozenset(
    {
        "function_call_output", "custom_tool_call_output", "computer_call_output",
        "local_shell_call_output", "shell_call_output", "apply_patch_call_output",
        "mcp_call", "mcp_list_tools", "file_search_call", "web_search_call",
        "code_interpreter_call", "image_generation_call", "tool_search_output", "program_output",
        "multi_agent_call_output",
        # Mistral's conversations.
        "function.result",
    }
)  # fmt: skip
# Items that are the model's own, and so sent back in its name.
_CALLS = frozenset(
    {
        "function_call", "custom_tool_call", "reasoning", "compaction", "computer_call",
        "shell_call", "local_shell_call", "apply_patch_call", "mcp_approval_request",
        "tool_search_call", "program", "agent_message", "multi_agent_call",
        # Gemini's interactions.
        "thought", "model_output", "google_search_call", "url_context_call", "google_maps_call",
        "code_execution_call", "mcp_server_tool_call", "retrieval_call",
        # Mistral's conversations.
        "function.call",
    }
)  # fmt: skip


def chat(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/chat/completions`."""
    messages(document, c, link)
    prediction = document.get("prediction")
    if isinstance(prediction, dict):
        read_content(c, prediction, "content", ASSISTANT, (link, "prediction"))
    if document.get("prompt_id"):  # LiteLLM
        c.note("unseen_template", (link, "prompt_id"))
    written_by_the_application(document, c)


def messages(
    document: dict[str, object], c: Collector, link: Link = "", *, key: str = "messages"
) -> None:
    """The array `messages`: every turn with all that is in it."""
    turns = document.get(key)
    if not isinstance(turns, list):
        return
    _conversation(turns, c, (link, key), turn)


def thread(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """Assistants: an assistant, a thread, one turn of it, a run, and what tools gave it back."""
    for key in ("instructions", "additional_instructions"):
        c.text(document, key, SYSTEM, link)
    if "role" in document:
        turn(document, c, link)
        c.end_conversation()
    inner = document.get("thread")
    if isinstance(inner, dict):
        messages(inner, c, (link, "thread"))
    for key in ("messages", "additional_messages"):
        messages(document, c, link, key=key)
    given = document.get("tool_outputs")
    c.region(given, TOOL_DATA)
    for number, item in enumerate(given if isinstance(given, list) else []):
        if isinstance(item, dict):
            read_content(c, item, "output", TOOL_DATA, ((link, "tool_outputs"), number))
    written_by_the_application(document, c)


def run(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/threads/{id}/runs` and what follows there: the turns are at the provider."""
    c.note("unseen_history", ":path")
    thread(document, c, link)


_PLAIN = {"role", "content"}


def turn(message: dict[str, object], c: Collector, link: Link) -> None:
    """One message of a conversation."""
    role = word(message, "role")
    voice = VOICES.get(role, UNKNOWN)
    if message.keys() == _PLAIN and role in VOICES and isinstance(message["content"], str):
        # A chat of many turns is almost only this, and is sent again with every turn.
        text = c.text(message, "content", voice, link)
        c.turn(voice, [text] if text else [], link)
        c.whole.add(id(message))
        return
    c.region(message, voice)
    texts = read_content(c, message, "content", voice, link)
    # The front end of the Vercel AI SDK says `parts`: https://ai-sdk.dev/docs/reference
    texts += read_content(c, message, "parts", voice, link)
    attached = message.get("attachments")
    for number, file in enumerate(attached if isinstance(attached, list) else []):
        if isinstance(file, dict):
            read_media(c, {"type": "file", **file}, USER_DATA, ((link, "attachments"), number))
    for key in ("refusal", "reasoning_content", "thinking"):
        if key in message:
            c.text(message, key, voice, link)
    calls = message.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list) else []):
        if isinstance(call, dict):
            place: Link = ((link, "tool_calls"), number)
            for key in ("function", "custom"):
                inner = call.get(key)
                if isinstance(inner, dict):
                    c.text(inner, "arguments", ASSISTANT, (place, key))
                    c.text(inner, "input", ASSISTANT, (place, key))
    call = message.get("function_call")
    if isinstance(call, dict):
        c.text(call, "arguments", ASSISTANT, (link, "function_call"))
    c.turn(voice, texts, link)


def responses(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/responses`."""
    c.text(document, "instructions", SYSTEM, link)
    items(document, c, link)
    written_by_the_application(document, c)


def continued(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/conversations/{id}` (Mistral) and its like: earlier turns are at the provider."""
    if any(key in document for key in _ITEMS):
        c.note("unseen_history", ":path")
    responses(document, c, link)


def items(document: dict[str, object], c: Collector, link: Link) -> None:
    """The input of a response, and what it goes on from."""
    for key in ("previous_response_id", "previous_interaction_id", "conversation"):
        if document.get(key):
            c.note("unseen_history", (link, key))
    prompt = document.get("prompt")
    if isinstance(prompt, dict):
        c.region(prompt, USER)
        if prompt.get("id"):
            c.note("unseen_template", (link, "prompt"))
        variables = prompt.get("variables")
        for name, value in variables.items() if isinstance(variables, dict) else ():
            if isinstance(value, dict):
                read_part(c, value, USER, (((link, "prompt"), "variables"), name))
    for key in _ITEMS:
        given = document.get(key)
        if isinstance(given, str):
            c.text(document, key, USER, link)
        elif isinstance(given, list):
            _conversation(given, c, (link, key), _item)
        elif isinstance(given, dict) and word(given, "type"):  # Gemini takes one part, too
            _item(given, c, (link, key))
            c.end_conversation()


def _conversation(
    turns: list[object],
    c: Collector,
    link: Link,
    read: Callable[[dict[str, object], Collector, Link], None],
) -> None:
    """Turns in order, each read by `read`, or said by the user where it is only a string."""
    for number, item in enumerate(turns):
        if isinstance(item, dict):
            read(item, c, (link, number))
        elif isinstance(item, str):
            c.text(turns, number, USER, link)
            c.turn(USER, [item], (link, number))
    c.end_conversation()


def _item(item: dict[str, object], c: Collector, link: Link) -> None:
    kind = word(item, "type")
    if kind == "item_reference":
        c.note("unseen_history", link)
    if kind in _OUTPUTS:
        c.region(item, TOOL_DATA)
        take_opaque(c, item, "result", link)  # a picture that was made
        for key in ("output", "results", "outputs", "result", "error"):
            read_content(c, item, key, TOOL_DATA, link)
        c.turn(TOOL_DATA, [], link)
    elif kind in _CALLS:
        c.region(item, ASSISTANT)
        for key in ("arguments", "input", "summary", "content"):
            read_content(c, item, key, ASSISTANT, link)
        for key in ("encrypted_content", "signature"):
            take_opaque(c, item, key, link)
        c.turn(ASSISTANT, [], link)
    elif "role" in item:
        turn(item, c, link)
    else:
        c.turn(USER, read_part(c, item, USER, link), link)


def event(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """A frame of a Realtime session, `conversation.item.create`."""
    item = document.get("item")
    if isinstance(item, dict) and word(document, "type").startswith("conversation.item."):
        _item(item, c, (link, "item"))
        c.end_conversation()


def completions(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/completions`: a prompt, or a list of them."""
    for key in ("prompt", "suffix"):
        read_content(c, document, key, USER, link)
        _token_ids(c, document.get(key), USER, (link, key))


def inputs(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /v1/embeddings` and `/v1/moderations`: texts that nobody follows."""
    read_content(c, document, "input", EMBEDDING, link)
    _token_ids(c, document.get("input"), EMBEDDING, (link, "input"))


def _token_ids(c: Collector, value: object, voice: Voice, link: Link) -> None:
    """Text as token ids: only the model's own tokenizer could read it."""
    items = value if isinstance(value, list) else []
    if any(isinstance(item, int | float) for item in items) or any(
        isinstance(inner, int | float) for item in items if isinstance(item, list) for inner in item
    ):
        c.unscan("token_ids", link, voice)


def prompt_ids(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """Prompts in the words of a model, under keys of their own."""
    for key in _PROMPT_IDS:
        _token_ids(c, document.get(key), UNKNOWN, (link, key))


def written_by_the_application(document: dict[str, object], c: Collector) -> None:
    """Definitions of tools and formats: the application's own words."""
    for key in ("tools", "functions", "toolConfig"):
        c.region(document.get(key), DEFINITION)
    for key in ("response_format", "text", "tool_choice"):
        c.region(document.get(key), DEVELOPER)
