"""A batch file costs its requests, and hides nothing in what stands around them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bertguard.wire.reading import Reading
from bertguard.wire.request import read_request
from support import ATTACK, BENIGN

URL = "/v1/chat/completions"


def line(custom_id: object, *, model: str = "gpt-4o", **other: object) -> dict[str, Any]:
    asked = {"model": model, "messages": [{"role": "user", "content": BENIGN}]}
    return {"custom_id": custom_id, "method": "POST", "url": URL, "body": asked, **other}


def test_what_every_line_says_is_read_once() -> None:
    """Ids are few characters each; method, address and model are the same in all lines."""
    reading = _read([line(f"{number}") for number in range(500)])
    assert _short(reading) == [" ".join([*map(str, range(500)), "gpt-4o"])]
    schema = {"tools": [{"type": "function", "function": {"name": "get_weather"}}]}
    several = _read([line("same", model=f"m{n % 2}", **schema) for n in range(50)])
    assert _short(several) == ["same m0 m1", "get_weather"]


@pytest.mark.parametrize(
    "lines",
    [
        [line(ATTACK)],
        [line(word) for word in ATTACK.split()],
        # All of its words stood before, in another order.
        [line(word) for word in [*reversed(ATTACK.split()), *ATTACK.split()]],
        [line("1", model=ATTACK), line("2")],
        [line("1", method=ATTACK)],
        [line("1", method=[ATTACK], url={"x": 1})],
        [line("1", url=f"{URL}?q={ATTACK}")],
        [line("1"), line("2", note=ATTACK.split())],
        [line("1", note=ATTACK.split()[::-1]), line("2", note=ATTACK.split())],
        [line({"id": ATTACK})],
        [line([*ATTACK.split()])],
    ],
)
def test_an_attack_in_what_stands_around_a_request_is_read(lines: list[dict[str, Any]]) -> None:
    """Whole, or in pieces over the ids of lines that follow each other."""
    wanted = [word for word in ATTACK.split() if word != "system"]  # a word of the format
    texts = [segment.text for segment in _read(lines).segments]
    assert any(ATTACK in text or " ".join(wanted) in text for text in texts), texts


def test_a_long_id_is_read_at_its_place() -> None:
    """As every string that is no id."""
    (segment,) = [s for s in _read([line("1"), line(ATTACK)]).segments if s.text == ATTACK]
    assert segment.pointer == "/file/content/1/custom_id"


def _short(reading: Reading) -> list[str]:
    return [segment.text for segment in reading.segments if segment.pointer == "/file/content"]


def _read(lines: list[dict[str, Any]]) -> Reading:
    head = '--q\r\ncontent-disposition: form-data; name="file"; filename="b.jsonl"\r\n\r\n'
    body = head + "\n".join(map(json.dumps, lines)) + "\r\n--q--\r\n"
    headers = [("content-type", "multipart/form-data; boundary=q")]
    return read_request(body.encode(), path="/v1/files", headers=headers)
