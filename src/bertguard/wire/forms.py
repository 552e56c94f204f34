"""Forms: urlencoded and multipart bodies as fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from urllib.parse import parse_qsl

from bertguard.errors import UnreadableError
from bertguard.wire.headers import one_header

MAX_FIELDS = 10_000
_PART_HEADERS = frozenset({"content-disposition", "content-type", "content-transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form; `filename` only where it is a file.

    `told` is what else its header says: a second file name, headers of the sender's own. `charset`
    is the one that its content type names, `kind` that type itself, both in lower case.
    """

    name: str
    content: bytes
    filename: str = ""
    told: tuple[str, ...] = ()
    charset: str = ""
    kind: str = ""


def read_urlencoded(body: bytes) -> tuple[Field, ...]:
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


def read_multipart(body: bytes, boundary: str) -> tuple[Field, ...]:
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
    disposition = one_header(headers, "content-disposition") or "form-data"
    content_type = one_header(headers, "content-type")
    if one_header(headers, "content-transfer-encoding").lower() not in (
        "",
        "binary",
        "8bit",
        "7bit",
    ):
        raise UnreadableError(
            "transfer_encoding", "a part with a transfer encoding; send it as it is (RFC 7578)"
        )
    told = _parameters(disposition)
    names = _values(told, "name")
    if len(names) > 1:
        raise UnreadableError("multipart", "a part has more than one name; give it one")
    # A browser sends one of `filename` and `filename*`, other clients both; readers take either.
    files = _values(told, "filename")
    # The headers themselves are an application's to read as well.
    other = [value for key, value in headers if key not in _PART_HEADERS]
    other += [content_type] if content_type else []
    if told[0][0].lower() != "form-data" or not {*map(_key, told[1:])} <= {"name", "filename"}:
        other.append(disposition)
    charset = _values(_parameters(content_type), "charset") if ";" in content_type else []
    return Field(
        name="".join(names),
        content=bytes(content),
        filename=files[-1] if files else "",
        told=(*files[:-1], *other),
        charset=" ".join(charset).lower().replace("_", "-"),
        kind=content_type.partition(";")[0].strip().lower(),
    )


def _key(parameter: tuple[str, str]) -> str:
    return parameter[0].lower()


def _values(parameters: Sequence[tuple[str, str]], name: str) -> list[str]:
    """The values of one of them, in whatever way each is encoded (RFC 2231), without doubles."""
    found = (collapse_rfc2231_value(told[1]) for told in parameters if _key(told) == name)
    return list(dict.fromkeys(found))


def _parameters(header: str) -> list[tuple[str, str]]:
    """What a header says before its parameters, with an empty value, and each of those."""
    told = Message()
    told["content-disposition"] = header
    return told.get_params([], "content-disposition")
