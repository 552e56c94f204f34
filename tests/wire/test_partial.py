"""A part of something is scored, and said not to be the whole."""

from __future__ import annotations

import pytest

from bertguard.wire.partial import is_part, uncut
from bertguard.wire.request import read_request

PARTS = "/v1/uploads/upload_1/parts"


@pytest.mark.parametrize(
    ("path", "headers", "part"),
    [
        (PARTS, {}, True),
        ("/openai/V1/uploads/u/%70arts/", {}, True),
        ("/v1/uploads", {}, False),
        ("/v1/uploads/u/complete", {}, False),
        ("/v1/uploads/parts", {}, False),
        ("/x", {"Content-Range": "bytes 0-99/200"}, True),
        ("/x", {"Content-Range": "bytes 100-199/200"}, True),
        ("/x", {"Content-Range": "Bytes 0-199/200"}, False),
        ("/x", {"Content-Range": "bytes 0-199/*"}, True),
        ("/x", {"Content-Range": "lines 0-1/2"}, True),
        ("/x", {"Content-Range": f"bytes 0-{'9' * 5000}/1"}, True),
        ("/x", {"X-Goog-Upload-Command": "start"}, False),
        ("/x", {"X-Goog-Upload-Command": "upload"}, True),
        ("/x", {"X-Goog-Upload-Command": "upload, finalize"}, False),
        ("/x", {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}, False),
        ("/x", {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "8"}, True),
    ],
)
def test_path_and_headers_say_so(path: str, headers: dict[str, str], part: bool) -> None:
    """Uploads of OpenAI and Google, and what HTTP itself has for it."""
    assert is_part(path, list(headers.items())) == part


@pytest.mark.parametrize("last", ["upload", "upload, finalize"])
def test_of_two_headers_either_may_be_read(last: str) -> None:
    """Which of them the upstream follows is not known, so each has to say that this is all."""
    both = {"upload", "upload, finalize"}
    headers = [("x-goog-upload-command", told) for told in (*both - {last}, last)]
    assert is_part("/x", headers)
    assert is_part("/x", [("upload-complete", "?1"), ("upload-complete", "?0")])
    assert not is_part("/x", [("upload-complete", "?1"), ("upload-complete", "?1")])


@pytest.mark.parametrize("text", ["", "a", "aé", "é語𝄞", "𝄞語é"])
def test_a_character_cut_at_either_end_is_dropped_and_nothing_else(text: str) -> None:
    """Wherever the cut is: what is left are the characters that are whole."""
    raw = text.encode()
    for start in range(len(raw) + 1):
        for end in range(start, len(raw) + 1):
            piece = raw[start:end]
            assert uncut(piece).decode() == piece.decode(errors="ignore")


@pytest.mark.parametrize(
    "raw", [b"\xff\xd8\xff\xe0 picture", b"Z\xfcrich", b"\x80" * 5, b"a\xe9\xe9"]
)
def test_what_is_no_utf_8_otherwise_stays_as_it_is(raw: bytes) -> None:
    """A picture is still known by its first bytes."""
    assert uncut(raw) == raw


def test_a_part_without_a_body_is_nothing() -> None:
    """A question how far an upload has come, for one."""
    assert not read_request(b"", path="/x", headers=[("content-range", "bytes */9")]).unscanned
