"""Content: a string, or a list of parts, in the spellings of every provider at once.

A part is read by its shape, whatever the dialect: a proxy in between may translate, and an unknown
part would only be swept with less care.
"""

from __future__ import annotations

from bertguard.segments import Channel
from bertguard.wire.collector import TOOL_DATA, USER_DATA, Collector, Link, Voice, word
from bertguard.wire.media import read_media, take_opaque

# Keys under which a part carries plain text of the speaker.
_TEXT_KEYS = ("text", "refusal", "thinking", "input_text", "output_text", "prompt_string")
# Types of parts that bring what a tool or a search found, beside all that end in "_result".
# Models send some of them in turns of their own, and what is in there is a stranger's all the same.
_FOUND = frozenset({"mcp_tool_listing", "tool_reference"})
# Bytes that a provider made for itself, sent back as they came.
_OPAQUE_KEYS = ("signature", "encrypted_content", "thoughtSignature", "thought_signature",
                "redactedContent")  # fmt: skip
_READ_ONLY = frozenset({"document", "search_result", "file", "input_file", "resource"})


def read_content(
    c: Collector, holder: dict[str, object], key: str, voice: Voice, link: Link
) -> list[str]:
    """Read `holder[key]`; returns the texts that this voice says, in order."""
    value = holder.get(key)
    if isinstance(value, str):
        text = c.text(holder, key, voice, link)
        return [text] if text else []
    place: Link = (link, key)
    if isinstance(value, dict):
        return read_part(c, value, voice, place)
    if not isinstance(value, list):
        return []
    c.region(value, voice)
    texts: list[str] = []
    for number, part in enumerate(value):
        if isinstance(part, str):
            text = c.text(value, number, voice, place)
            texts += [text] if text else []
        elif isinstance(part, dict):
            texts += read_part(c, part, voice, (place, number))
    c.join(texts, voice, place)
    return texts


def read_part(c: Collector, part: dict[str, object], voice: Voice, link: Link) -> list[str]:
    """One part of a content; returns the texts of the speaker in it."""
    kind = word(part, "type")
    found = kind in _FOUND or (kind.endswith("_result") and kind != "search_result")
    if found or "toolResult" in part or "functionResponse" in part:
        _found(c, part, link)
        return []
    if kind in _READ_ONLY or "document" in part or "searchResult" in part:
        _document(c, part, voice if voice.channel is Channel.DATA else USER_DATA, link)
        return []
    c.region(part, voice)
    if kind.startswith(("tool-", "dynamic-tool")):
        # Vercel AI SDK: what a tool gave back stands in the part of its call.
        c.region(part.get("output"), TOOL_DATA)
        c.text(part, "output", TOOL_DATA, link)
    for key in _OPAQUE_KEYS:
        take_opaque(c, part, key, link)
    if kind == "redacted_thinking":
        take_opaque(c, part, "data", link)
    read_media(c, part, voice if voice.channel is Channel.DATA else USER_DATA, link)
    texts = []
    for key in _TEXT_KEYS:
        value = part.get(key)
        if isinstance(value, str):
            text = c.text(part, key, voice, link)
            texts += [text] if text else []
        elif isinstance(value, dict):  # Bedrock's guardContent, OpenAI's older {"value": …}
            texts += read_part(c, value, voice, (link, key))
    for key in ("content", "guardContent", "reasoningContent", "reasoningText"):
        if isinstance(part.get(key), str | list | dict):
            texts += read_content(c, part, key, voice, link)
    return texts


def _found(c: Collector, part: dict[str, object], link: Link) -> None:
    c.region(part, TOOL_DATA)
    for key in ("content", "output", "result", "toolResult", "functionResponse", "response",
                "parts"):  # fmt: skip
        value = part.get(key)
        if isinstance(value, dict) and key in ("toolResult", "functionResponse"):
            _found(c, value, (link, key))
        elif value is not None:
            read_content(c, part, key, TOOL_DATA, link)


def _document(
    c: Collector, part: dict[str, object], voice: Voice, link: Link, *, key: str = ""
) -> None:
    """Something that the model only reads, and its texts together: an attack may be cut there."""
    c.join(_texts_of(c, part, voice, link, key=key), voice, link)


def _texts_of(
    c: Collector, part: dict[str, object], voice: Voice, link: Link, *, key: str = ""
) -> list[str]:
    """Title, context and text of a document, in order.

    `key` is that of the holder: fields of Cohere's `data` are words, an address among them as well.
    """
    c.region(part, voice)
    read_media(c, part, voice, link, fetched=key == "document", listed=key == "data")
    texts = fields_of(part) if key == "data" else []
    for name in ("title", "context", "text", "data", "name"):
        text = c.text(part, name, voice, link)
        texts += [text] if text and key != "data" else []
    for name in ("source", "document", "searchResult", "content", "file", "resource", "data"):
        value = part.get(name)
        if name == "content" and isinstance(value, str | list):
            texts += read_content(c, part, name, voice, link)
        elif isinstance(value, dict):
            texts += _texts_of(c, value, voice, (link, name), key=name)
    return texts


def fields_of(document: dict[str, object]) -> list[str]:
    """The texts of a document with fields of its own, as a model is shown them one by one."""
    return [value for value in document.values() if isinstance(value, str)]
