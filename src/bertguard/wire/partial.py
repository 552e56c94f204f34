"""A body that is a part of something: each is read, and what they make up nowhere."""

from __future__ import annotations

import re
from codecs import utf_8_decode
from collections.abc import Sequence

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
    command = offset = ""
    for name, value in headers:
        told = value.strip().lower()
        match name.lower():
            case "content-range" if not _is_whole(told):
                return True
            case "x-goog-upload-command":
                command = told
            case "x-goog-upload-offset":
                offset = told
    # Google's SDK sends files of more than 8 MB in pieces, and says of the last that it is.
    return "upload" in command and not ("finalize" in command and offset in ("", "0"))


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
