"""The body of `/v1/check` is read strictly, and its errors name fields and never values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertguard.segments import Channel, Role, Segment
from bertguard.server.checking import BadCheckError, read_check
from bertguard.wire.json_text import parse_json

SECRET = "my-secret-text"


def test_text_is_a_prompt_unless_it_says_otherwise() -> None:
    """`channel` defaults to prompt and takes data."""
    check = read_check(b'{"text": "hello"}')
    assert (check.text, check.channel) == ("hello", Channel.PROMPT)
    assert read_check(b'{"text": "hello", "channel": "data"}').channel is Channel.DATA


def test_segments_keep_role_and_channel_and_point_at_themselves() -> None:
    """A tool's segment is data by default, any other a prompt; the pointer says which one it is."""
    body = {
        "segments": [
            {"text": "a"},
            {"text": "b", "role": "tool"},
            {"text": "c", "role": "tool", "channel": "prompt"},
        ]
    }
    assert read_check(json.dumps(body).encode()).segments == (
        Segment("a", Role.USER, Channel.PROMPT, "/segments/0/text"),
        Segment("b", Role.TOOL, Channel.DATA, "/segments/1/text"),
        Segment("c", Role.TOOL, Channel.PROMPT, "/segments/2/text"),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_body_reaches_the_guard_as_the_same_json(value: object) -> None:
    """Whatever JSON stands in `body`, the bytes that are judged hold the same document."""
    check = read_check(json.dumps({"body": value, "path": "/v1/x"}).encode())
    assert check.body is not None
    assert json.loads(check.body) == value
    assert check.path == "/v1/x"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (f"{SECRET}", ""),
        (f'["{SECRET}"]', ""),
        (f'{{"text": "{SECRET}", "text": "b"}}', ""),
        (f'{{"text": "{SECRET}", "n": NaN}}', ""),
        ('{"text": "a"' + "[" * 100_000, ""),
        ("{}", "text"),
        (f'{{"text": "{SECRET}", "segments": []}}', "segments"),
        (f'{{"text": "a", "{SECRET}": 1}}', ""),
        (f'{{"text": ["{SECRET}"]}}', "text"),
        ('{"text": "\\ud800"}', "text"),
        (f'{{"text": "a", "channel": "{SECRET}"}}', "channel"),
        ('{"text": "a", "channel": null}', "channel"),
        ('{"text": "a", "path": "/v1/x"}', ""),
        (f'{{"segments": "{SECRET}"}}', "segments"),
        ('{"segments": []}', "segments"),
        (f'{{"segments": [{{"text": "a"}}, "{SECRET}"]}}', "segments[1]"),
        ('{"segments": [{"role": "user"}]}', "segments[0].text"),
        (f'{{"segments": [{{"text": "a", "{SECRET}": 1}}]}}', "segments[0]"),
        (f'{{"segments": [{{"text": "a", "role": "{SECRET}"}}]}}', "segments[0].role"),
        (f'{{"segments": [{{"text": "a", "channel": "{SECRET}"}}]}}', "segments[0].channel"),
        (f'{{"body": {{}}, "path": ["{SECRET}"]}}', "path"),
    ],
)
def test_bad_input_names_the_field_and_repeats_nothing(body: str, field: str) -> None:
    """Every mistake is one error with the field's name, without anything that was sent."""
    with pytest.raises(BadCheckError) as caught:
        read_check(body.encode())
    assert caught.value.field == field
    assert caught.value.status == 400
    assert field in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_number_beyond_all_floats_is_no_reason_to_refuse() -> None:
    """JSON may hold it, and an application reads it; only Python would write it as no JSON."""
    check = read_check(b'{"body": {"x": 1e999}}')
    assert check.body is not None
    assert parse_json(check.body.decode()) == {"x": 0.0}


@pytest.mark.parametrize("body", [b'{"text": "\xff"}', b"\xff\xfe{"])
def test_bytes_that_are_no_text_are_bad_input(body: bytes) -> None:
    """Invalid UTF-8 is bad input and not a failure of the server."""
    with pytest.raises(BadCheckError):
        read_check(body)
