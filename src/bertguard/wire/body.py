"""The bytes of a body -> what an application would read, or `UnreadableError`.

The content type is a hint and never a way out: whatever parses as JSON is read as JSON, since an
application may call `request.json()` without a look at the header.
"""

from __future__ import annotations

import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from json import detect_encoding
from urllib.parse import parse_qsl

from bertguard.errors import UnreadableError
from bertguard.wire.json_text import (
    NOT_JSON,
    decode_json,
    holds_ascii_words,
    is_json,
    parse_json,
    parse_lines,
)
from bertguard.wire.media import sniffed

MAX_INFLATED_BYTES = 32 * 1024 * 1024
MAX_INFLATE_RATIO = 200
MAX_FIELDS = 10_000

_GZIP_EXTRAS = 0b10100
"""Flags of RFC 1952 for an extra field and a comment, which no client of ours writes."""

_UTF_8 = frozenset({"utf-8", "utf8"})
_WIDE = frozenset({"utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"})
# The marks of UTF-32 first: that of UTF-16 is a beginning of one.
_MARKS = (
    (BOM_UTF32_LE, "utf-32le"), (BOM_UTF32_BE, "utf-32be"), (BOM_UTF16_LE, "utf-16le"),
    (BOM_UTF16_BE, "utf-16be"), (BOM_UTF8, "utf-8"),
)  # fmt: skip
# Every byte below 128 means the same letter in these; beyond it they differ from UTF-8.
_ASCII_LIKE = frozenset({"ascii", "us-ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252"})
_ANY_FILE = "application/x-file"
_PART_HEADERS = frozenset({"content-disposition", "content-type", "content-length",
                           "content-transfer-encoding"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form; `filename` only where it is a file.

    `told` is what else its header says: a second file name, headers of the sender's own.
    """

    name: str
    content: bytes
    filename: str = ""
    told: tuple[str, ...] = ()


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


def read_body(body: bytes, headers: Sequence[tuple[str, str]]) -> Body:
    """Read a request body as the application behind may read it.

    Raises:
        UnreadableError: it cannot be read in exactly one way; `reason` says why.
    """
    if not body:
        return Body()
    body = inflate(body, headers)
    kind, charset, boundary = _content_type(_one(headers, "content-type"))
    _check_charset(charset, body)
    if "upload" in _one(headers, "x-goog-upload-command").lower():
        # Google's SDK sends the bytes of any file under the label of JSON.
        kind = _ANY_FILE
    if not body or body.isspace():
        return Body()
    multipart = kind == "multipart/form-data" or (kind.startswith("multipart/") and boundary)
    if multipart or kind == "application/x-www-form-urlencoded":
        if charset in _WIDE:
            # Starlette reads the values of a form by the charset of its header, others do not.
            raise _charset_error()
        fields = _multipart(body, boundary) if multipart else _urlencoded(body)
        documents = _maybe_json(body)
        lines = None if documents or multipart else _maybe_lines(body)
        return Body(fields=fields, documents=tuple(lines or documents), lines=bool(lines))
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
    if encoding != "utf-8" and b"\0" not in body and _is_utf8(body):
        return None  # a reader that never looks at the label sees another text
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text.removeprefix("\ufeff")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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
    return Body(shown=shown) if shown else Body(opaque="binary_body")


def shown_by(raw: bytes) -> str:
    """What bytes show (`image`, `audio`, `video`), and no reader of UTF-8 takes for a text."""
    return "" if _is_utf8(raw) else sniffed(raw)


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


def _urlencoded(body: bytes) -> tuple[Field, ...]:
    # As Latin-1, where a byte is a character: `parse_qsl` takes from bytes nothing beyond ASCII,
    # whether escaped or, as `curl -d` sends it, not.
    try:
        pairs = parse_qsl(
            body.decode("latin-1"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            encoding="latin-1",
        )
    except ValueError:
        raise UnreadableError(
            "too_many_fields", f"the form has more than {MAX_FIELDS} fields; send fewer"
        ) from None
    return tuple(
        Field(name.encode("latin-1").decode("utf-8", "replace"), value.encode("latin-1"))
        for name, value in pairs
    )


def _multipart(body: bytes, boundary: str) -> tuple[Field, ...]:
    """The parts of a multipart body, read by the parser that Starlette uses.

    Source: RFC 7578.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    parts: list[tuple[list[tuple[str, str]], bytearray]] = []
    name, value = bytearray(), bytearray()

    def header_end() -> None:
        key = name.decode("latin-1").lower()
        parts[-1][0].append((key, value.decode("utf-8", "replace")))
        name.clear()
        value.clear()

    callbacks = {
        "on_part_begin": lambda: parts.append(([], bytearray())),
        "on_part_data": lambda data, start, end: parts[-1][1].extend(data[start:end]),
        "on_header_field": lambda data, start, end: name.extend(data[start:end]),
        "on_header_value": lambda data, start, end: value.extend(data[start:end]),
        "on_header_end": header_end,
    }
    if not boundary:
        raise UnreadableError("multipart", "a multipart body without a boundary; name it")
    try:
        parser = MultipartParser(boundary.encode("latin-1"), callbacks)  # type: ignore[arg-type]  # a typed dict of callables
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeEncodeError):
        raise _multipart_error() from None
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    framed = b"\r\n" + body.lstrip(b"\r\n")
    if not framed.startswith(delimiter) or framed.partition(delimiter + b"--")[2].strip():
        # What stands around the parts is dropped by a reader of forms, and not by one of lines.
        raise _multipart_error()
    if len(parts) > MAX_FIELDS:
        raise UnreadableError(
            "too_many_fields", f"the form has more than {MAX_FIELDS} fields; send fewer"
        )
    return tuple(_part(headers, content) for headers, content in parts)


def _multipart_error() -> UnreadableError:
    return UnreadableError(
        "multipart", "the multipart body is malformed; send parts alone, as RFC 7578 says"
    )


def _part(headers: Sequence[tuple[str, str]], content: bytearray) -> Field:
    disposition = _one(headers, "content-disposition") or "form-data"
    content_type = _one(headers, "content-type")
    if _one(headers, "content-transfer-encoding").lower() not in ("", "binary", "8bit", "7bit"):
        raise UnreadableError(
            "transfer_encoding", "a part with a transfer encoding; send it as it is (RFC 7578)"
        )
    names = _parameter(disposition, "name")
    if len(names) > 1:
        raise UnreadableError("multipart", "a part has more than one name; give it one")
    # A browser sends one of `filename` and `filename*`, other clients both; readers take either.
    files = _parameter(disposition, "filename")
    other = [value for key, value in headers if key not in _PART_HEADERS]
    if ";" in content_type:
        other.append(content_type)
    return Field(
        name="".join(names),
        content=bytes(content),
        filename=files[-1] if files else "",
        told=(*files[:-1], *other),
    )


def _parameter(header: str, name: str) -> list[str]:
    """The values of one parameter, in whatever way each is encoded (RFC 2231), without doubles."""
    told = Message()
    told["content-disposition"] = header
    found = told.get_params([], "content-disposition")
    values = [collapse_rfc2231_value(value) for key, value in found if key.lower() == name]
    return list(dict.fromkeys(values))


def inflate(body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
    """The body without its content encoding, under a bound on size and on ratio.

    Raises:
        UnreadableError: `content_encoding` or `inflated_size`.
    """
    names = [
        name.strip().lower() for name in _one(headers, "content-encoding", join=True).split(",")
    ]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return body
    if _is_utf8(body) or (body[:2] == b"\x1f\x8b" and body[3:4] and body[3] & _GZIP_EXTRAS):
        # Most frameworks inflate nothing: what they see must be no text of its own.
        raise UnreadableError(
            "content_encoding", "the body is not only what its encoding says; send it again"
        )
    if len(names) > 1 or names[0] not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableError(
            "content_encoding",
            "the body has a content encoding that is not read here; send identity, gzip or deflate",
        )
    room = min(MAX_INFLATED_BYTES, max(len(body), 1024) * MAX_INFLATE_RATIO)
    # 47 takes gzip and zlib heads alike; some senders of "deflate" leave the head out.
    for window_bits in (47, -15) if names[0] == "deflate" else (31,):
        inflater = zlib.decompressobj(window_bits)
        try:
            plain = inflater.decompress(body, room + 1)
        except zlib.error:
            continue
        if len(plain) > room:
            raise UnreadableError(
                "inflated_size", f"the body inflates to more than {room} bytes; send less"
            )
        if inflater.eof and not inflater.unused_data:
            return plain
    raise UnreadableError("content_encoding", "the compressed body is damaged; send it again")


def _one(headers: Sequence[tuple[str, str]], name: str, *, join: bool = False) -> str:
    """A header that may come once; twice with different values has two readings."""
    values = [value.strip() for key, value in headers if key.lower() == name]
    if join:
        return ",".join(values)
    if len(set(values)) > 1:
        raise UnreadableError(
            "duplicate_header", f"{name} comes with two different values; send it once"
        )
    return values[0] if values else ""


def _content_type(header: str) -> tuple[str, str, str]:
    """(media type, charset, boundary), the first two in lower case."""
    kind = header.partition(";")[0].strip().lower()
    if ";" not in header:
        return kind, "", ""
    told = Message()
    told["content-type"] = header
    parameters = [(key.lower(), value) for key, value in told.get_params([])[1:]]
    if len(dict(parameters)) < len(parameters) or any(isinstance(v, tuple) for _, v in parameters):
        # Starlette takes the last of two, others the first.
        raise UnreadableError(
            "content_type", "a parameter of the content type comes twice or encoded; send it once"
        )
    values = dict(parameters)
    charset = values.get("charset", "").strip("\"' ").lower().replace("_", "-")
    return kind, charset, values.get("boundary", "")


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
