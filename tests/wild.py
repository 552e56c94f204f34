"""Requests in any shape, with the attack somewhere, and what their readers see of it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hypothesis import strategies as st

from support import ATTACK, BENIGN

CASES = int(os.environ.get("GUARD_CASES", "400"))
PATHS = (
    "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions", "/api/chat",
    "/api/generate", "/v1beta/models/m:generateContent", "/v2/chat", "/model/m/converse", "/mcp",
    "/anything",
)  # fmt: skip
KEYS = st.sampled_from(
    """messages content role text type parts input output contents system instructions prompt tools
    name arguments tool_calls function result params data source document title metadata id model
    url image_url file_data media_type format Messages x y""".split()
)
WORDS = st.sampled_from(
    [BENIGN, "user", "system", "assistant", "tool", "text", "tool_result", "document", "base64",
     "image/png", "text/plain", "function", "input_text", "image_url", "file", "id-1", "", " "]
)  # fmt: skip
LEAVES = WORDS | st.none() | st.booleans() | st.integers(-5, 5)
HOLDERS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@st.composite
def documents(draw: st.DrawFn) -> object:
    """A JSON document with the attack somewhere, in any shape that a dialect could have."""
    value: object = draw(st.sampled_from([ATTACK, f"{BENIGN} {ATTACK}", f"{ATTACK}\n{BENIGN}"]))
    for _ in range(draw(st.integers(0, 7))):
        if draw(st.booleans()):
            beside = draw(st.lists(HOLDERS, max_size=2))
            place = draw(st.integers(0, len(beside)))
            value = [*beside[:place], value, *beside[place:]]
        else:
            key = draw(KEYS)
            beside_keys = draw(st.dictionaries(KEYS, HOLDERS, max_size=3))
            value = {**{k: v for k, v in beside_keys.items() if k != key}, key: value}
        if draw(st.integers(0, 15)) == 0:
            value = {draw(st.sampled_from([ATTACK, "k"])): value}
    return value


def visible(value: object) -> bool:
    """True where a reader of this value sees the attack."""
    if isinstance(value, str):
        return ATTACK in value
    if isinstance(value, bytes):
        return ATTACK.encode() in value
    if isinstance(value, Mapping):
        return any(visible(key) or visible(inner) for key, inner in value.items())
    return isinstance(value, list | tuple) and any(map(visible, value))
