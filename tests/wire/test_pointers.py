"""A pointer says where something stands, and never what somebody typed there."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from bertguard.segments import Role
from bertguard.wire.collector import ASSISTANT, USER, Collector, point
from bertguard.wire.reading import Reading
from bertguard.wire.request import read_request

TEXT = "a sentence that is long enough to be scored alone"
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
UNREADABLE = {"type": "file", "file": {"file_id": "file-abc123"}}

TYPED = (
    "pwd: Hunter2! ok",
    "x/john.smith@contoso-pharma.com",
    "jane@corp.com",
    "my pin is 4711",
    "4711",
    "+49-170-1234567",
    "hunter2!",
    "Jürgen",
    "two--hyphens",
    "-x",
    "",
    "a" * 33,
    "line\n",
)
NAMES = ("content", "_meta", "file_data", "x-ray", "cacheControl", "v2", "a" * 32)


def told(reading: Reading) -> str:
    """Every pointer of a reading, as verdicts, logs and traces may show it."""
    pointers = [segment.pointer for segment in reading.segments]
    return json.dumps([*pointers, *reading.unscanned, *reading.notes], ensure_ascii=False)


def read(body: bytes, content_type: str = "application/json", query: str = "") -> Reading:
    headers = [("content-type", content_type)]
    return read_request(body, path="/v1/chat/completions", headers=headers, query=query)


@pytest.mark.parametrize("key", TYPED)
def test_what_somebody_typed_is_quoted_nowhere(key: str) -> None:
    """As a key of JSON, a field or a parameter: pointers end at what holds it."""
    document = {"messages": [], "metadata": {key: {"a": TEXT, "b": [PICTURE, UNREADABLE]}}}
    reading = read(json.dumps(document).encode())
    assert {segment.pointer for segment in reading.segments if TEXT in segment.text} == {
        "/metadata"
    }
    assert reading.unscanned
    assert all(entry.endswith(" at /metadata") for entry in (*reading.unscanned, *reading.notes))
    pair = f"{quote(key)}={quote(TEXT)}"
    form = read(pair.encode(), "application/x-www-form-urlencoded")
    asked = read(b"", query=pair)
    assert {segment.pointer for segment in (*form.segments, *asked.segments)} <= {"", "?", ":path"}
    if key:
        assert key not in told(reading) + told(form) + told(asked)


@pytest.mark.parametrize("key", NAMES)
def test_names_of_formats_and_programs_are(key: str) -> None:
    """A finding is told by them."""
    assert point((("/root", key), 3)) == f"/root/{key}/3"


def test_places_that_share_a_pointer_are_trusted_together_or_not() -> None:
    """Else what a stranger sent would pass as what the model's own turn is let pass for."""
    c = Collector()
    c.unscan("media", (("", "first one"), "a"), ASSISTANT)
    assert c.unscanned == {"media at ": Role.ASSISTANT}
    c.unscan("media", (("", "first one"), "a"), USER)  # the sweep comes by as well
    assert c.unscanned == {"media at ": Role.ASSISTANT}
    c.unscan("media", (("", "second one"), "a"), USER)
    assert c.unscanned == {"media at ": None}
    c.unscan("media", (("", "third one"), "a"), ASSISTANT)
    assert c.unscanned == {"media at ": None}
