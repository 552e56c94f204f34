"""The bytes of a body -> what an application would read, or `UnreadableError`.

The content type is a hint and never a way out: whatever parses as JSON is read as JSON, since an
application may call `request.json()` without a look at the header.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Sequence
from dataclasses import dataclass, replace
from json import detect_encoding

from bertguard.errors import UnreadableError
from bertguard.wire.forms import Field, read_multipart, read_urlencoded
from bertguard.wire.headers import content_type_of, inflate, is_utf8, one_header
from bertguard.wire.json_text import (
    NOT_JSON,
    decode_json,
    holds_ascii_words,
    is_json,
    parse_json,
    parse_lines,
)
from bertguard.wire.media import sniffed
from bertguard.wire.partial import uncut
from bertguard.wire.text_files import says_text

_UTF_8 = frozenset({"utf-8", "utf8"})
_WIDE = frozenset({"utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"})
# The marks of UTF-32 first: that of UTF-16 is a beginning of one.
_MARKS = (
    (BOM_UTF32_LE, "utf-32le"), (BOM_UTF32_BE, "utf-32be"), (BOM_UTF16_LE, "utf-16le"),
    (BOM_UTF16_BE, "utf-16be"), (BOM_UTF8, "utf-8"),
)  # fmt: skip
# Every byte below 128 means the same letter in these; beyond it they differ from UTF-8.
_ASCII_LIKE = frozenset({"ascii", "us-ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252"})
# In these, and in none of UTF-7, EBCDIC or ISO 2022, a byte below 128 always is that letter.
_ASCII_SUPERSET = re.compile(
    r"(?:us-)?ascii|iso-?8859-\d{1,2}|latin-?\d|(?:windows-|cp)125\d|koi8-[ru]|big5|gbk|gb2312|gb18030"
    r"|euc-(?:jp|kr)|shift-jis"
)
_ANY_FILE = "application/x-file"


@dataclass(frozen=True, slots=True)
class Body:
    """What a body holds; more than one reading is set where an application may take either.

    `documents` are JSON values (one, or one per line), `fields` those of a form, `text` a text
    that is neither, `opaque` the reason why there is none of them; `shown` names an image, sound or
    film that the body is.
    """

    documents: tuple[object, ...] = ()
    lines: bool = False
    fields: tuple[Field, ...] = ()
    text: str = ""
    opaque: str = ""
    shown: str = ""


def read_body(body: bytes, headers: Sequence[tuple[str, str]], *, part: bool = False) -> Body:
    """Read a request body as the application behind may read it.

    A `part` of something may begin and end within a character.

    Raises:
        UnreadableError: it cannot be read in exactly one way; `reason` says why.
    """
    if not body:
        return Body()
    body = inflate(body, headers)
    kind, charset, boundary = content_type_of(one_header(headers, "content-type"))
    _check_charset(charset, body)
    if "upload" in one_header(headers, "x-goog-upload-command").lower():
        # Google's SDK sends the bytes of any file under the label of JSON.
        kind = _ANY_FILE
    if not body or body.isspace():
        return Body()
    multipart = kind == "multipart/form-data" or (kind.startswith("multipart/") and boundary)
    if multipart or kind == "application/x-www-form-urlencoded":
        if charset in _WIDE:
            # Starlette reads the values of a form by the charset of its header, others do not.
            raise _charset_error()
        fields = read_multipart(body, boundary) if multipart else read_urlencoded(body)
        if part:
            fields = tuple(replace(field, content=uncut(field.content)) for field in fields)
        documents = _maybe_json(body)
        lines = None if documents or multipart else _maybe_lines(body)
        return Body(fields=fields, documents=tuple(lines or documents), lines=bool(lines))
    if part:
        # A piece of JSON is none, whatever its label says.
        body, kind = uncut(body), _ANY_FILE
    return _json_or_text(body, kind, charset)


def plain_text(body: bytes, charset: str = "") -> str | None:
    """The text of bytes that are no JSON; None where they have no single reading.

    By the byte order mark, else by `charset`, else as UTF-8. Whether bytes are UTF-16 is never
    guessed: behind one NUL, a reader of UTF-8 would see what a reader of UTF-16 does not.
    """
    marked = next((name for mark, name in _MARKS if body.startswith(mark)), "")
    if marked and charset not in ("", marked, marked[:6]):
        return None
    encoding = marked or charset or "utf-8"
    if encoding in ("utf-16", "utf-32") or (encoding != "utf-8" and holds_ascii_words(body)):
        return None
    if encoding != "utf-8" and b"\0" not in body and is_utf8(body):
        return None  # a reader that never looks at the label sees another text
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text.removeprefix("\ufeff")


def field_text(content: bytes, charset: str) -> str | None:
    """The text of a field of a form, as `plain_text`, where the field itself may name a charset.

    Some readers of forms obey it (aiohttp, for one), others do not.
    """
    if charset in _WIDE:
        return plain_text(content, charset)
    if charset and charset not in _UTF_8 and not _ASCII_SUPERSET.fullmatch(charset):
        return None
    return plain_text(content)


def _json_or_text(body: bytes, kind: str, charset: str) -> Body:
    try:
        return Body(documents=(parse_json(decode_json(body)),))
    except UnreadableError as error:
        lines = _maybe_lines(body) if error.reason in NOT_JSON else None
        if lines is not None:
            return Body(documents=tuple(lines), lines=True)
        if kind.endswith(("json", "jsonl", "ndjson")):
            raise
        if error.reason not in NOT_JSON and _is_json(body):
            raise
    text = plain_text(body, charset if charset in _WIDE else "")
    if text is not None:
        return Body(text=text)
    shown = shown_by(body) if kind.startswith(("image/", "audio/", "video/", _ANY_FILE)) else ""
    if shown:
        return Body(shown=shown)
    return Body(opaque="undecodable_text" if says_text(kind) else "binary_body")


def shown_by(raw: bytes) -> str:
    """What bytes show (`image`, `audio`, `video`), and no reader of UTF-8 takes for a text."""
    return "" if is_utf8(raw) else sniffed(raw)


def _is_json(body: bytes) -> bool:
    """Whether a reader that is less strict than ours would take the body as JSON."""
    try:
        return is_json(decode_json(body))
    except UnreadableError:
        return False


def _maybe_lines(body: bytes) -> list[object] | None:
    """JSON Lines, where every line is an object or array; None where it is something else."""
    try:
        text = decode_json(body)
    except UnreadableError:
        return None
    if "\n" not in text.strip():
        return None
    # By line feeds alone: a string may hold U+2028 and whatever else ends a line elsewhere.
    lines = [line.lstrip() for line in text.split("\n")]
    if not all(line[:1] in ("{", "[") for line in lines if line):
        return None
    try:
        return parse_lines(text)
    except UnreadableError as error:
        if error.reason in NOT_JSON:
            return None  # "[INFO] started" begins like JSON, and is a line of a log
        raise


def _maybe_json(body: bytes) -> tuple[object, ...]:
    """The JSON value of a body that says it is a form, if it is one."""
    if _opening(body) not in ("{", "[", '"'):
        return ()
    try:
        return (parse_json(decode_json(body)),)
    except UnreadableError as error:
        if error.reason in NOT_JSON or not _is_json(body):
            return ()
        raise


def _opening(body: bytes) -> str:
    """The first character that is no space, in the encoding that a reader of JSON would detect."""
    encoding = detect_encoding(body)
    if encoding.startswith("utf-8"):
        return body.removeprefix(BOM_UTF8).lstrip()[:1].decode("latin-1")
    return body.decode(encoding, "replace").lstrip()[:1]


def _check_charset(charset: str, body: bytes) -> None:
    if not charset or charset in _UTF_8 or charset in _WIDE:
        return
    if charset in _ASCII_LIKE and body.isascii():
        return
    raise _charset_error()


def _charset_error() -> UnreadableError:
    return UnreadableError(
        "charset", "the body has a charset that readers take differently; send UTF-8"
    )
