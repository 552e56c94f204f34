"""A body that is a part of something: each is read, and what they make up nowhere."""

from __future__ import annotations

import re
from codecs import utf_8_decode
from collections.abc import Mapping, Sequence

from bertguard.wire.dialects import canonical_path

# Source: https://platform.openai.com/docs/api-reference/uploads/add-part
_PART_PATH = re.compile(r"/uploads/[^/]+/parts\Z")
# Source: RFC 9110, section 14.5.
_RANGE = re.compile(r"bytes 0-(\d{1,18})/(\d{1,18})")
_MOST_CUT_BYTES = 3


def is_part(path: str, headers: Sequence[tuple[str, str]]) -> bool:
    """Whether a body is a part of something, by its path or by any of its headers."""
    if _PART_PATH.search(canonical_path(path)):
        return True
    told: dict[str, set[str]] = {}
    for name, value in headers:
        told.setdefault(name.lower(), set()).add(value.strip().lower())
    if not all(map(_is_whole, told.get("content-range", ()))) or _is_resumed(told):
        return True
    first = told.get("x-goog-upload-offset", set()) <= {"", "0"}
    # Google's SDK sends files of more than 8 MB in pieces, and says of the last that it is.
    return any(
        "upload" in command and not ("finalize" in command and first)
        for command in told.get("x-goog-upload-command", ())
    )


def _is_resumed(told: Mapping[str, set[str]]) -> bool:
    """Whether a resumable upload brings less than the whole with this request.

    Source: https://tus.io/protocols/resumable-upload, and of the same idea
    https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/ (`Upload-Complete`, in
    early versions `Upload-Incomplete`).
    """
    complete = told.get("upload-complete")
    if told.get("upload-incomplete", {"?0"}) != {"?0"} or complete not in (None, {"?1"}):
        return True
    if "upload-offset" in told:
        return complete is None or told["upload-offset"] != {"0"}
    # What comes with the creation of an upload: nothing mostly, or the beginning, or all of it.
    whole = ({"0"}, told.get("upload-length"))
    return complete is None and "upload-length" in told and told.get("content-length") not in whole


def uncut(raw: bytes) -> bytes:
    """Bytes without what a cut has left of a character at either end, where else they are UTF-8."""
    start = 0
    while start < _MOST_CUT_BYTES and raw[start : start + 1] and raw[start] & 0xC0 == 0x80:
        start += 1
    try:
        length = utf_8_decode(raw[start:])[1]  # it stops before a character that is not whole
    except UnicodeDecodeError:
        return raw
    return raw[start : start + length]


def _is_whole(content_range: str) -> bool:
    found = _RANGE.fullmatch(content_range)
    return found is not None and int(found[1]) + 1 == int(found[2])
