"""What the headers of a body say, each once, and the body without its content encoding."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from email.message import Message

from bertguard.errors import UnreadableError

MAX_INFLATED_BYTES = 32 * 1024 * 1024
MAX_INFLATE_RATIO = 200

_GZIP_EXTRAS = 0b10100
"""Flags of RFC 1952 for an extra field and a comment, which no client of ours writes."""


def inflate(
    body: bytes, headers: Sequence[tuple[str, str]], *, max_bytes: int = MAX_INFLATED_BYTES
) -> bytes:
    """The body without its content encoding, under a bound on size and on ratio.

    Raises:
        UnreadableError: `content_encoding`, `inflated_size` or `inflate_ratio`.
    """
    names = [
        name.strip().lower()
        for name in one_header(headers, "content-encoding", join=True).split(",")
    ]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return body
    if is_utf8(body) or (body[:2] == b"\x1f\x8b" and body[3:4] and body[3] & _GZIP_EXTRAS):
        # Most frameworks inflate nothing: what they see must be no text of its own.
        raise UnreadableError(
            "content_encoding", "the body is not only what its encoding says; send it again"
        )
    if len(names) > 1 or names[0] not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableError(
            "content_encoding",
            "the body has a content encoding that is not read here; send identity, gzip or deflate",
        )
    room = min(max_bytes, max(len(body), 1024) * MAX_INFLATE_RATIO)
    # 47 takes gzip and zlib heads alike; some senders of "deflate" leave the head out.
    for window_bits in (47, -15) if names[0] == "deflate" else (31,):
        inflater = zlib.decompressobj(window_bits)
        try:
            plain = inflater.decompress(body, room + 1)
        except zlib.error:
            continue
        if len(plain) > room and room < max_bytes:
            raise UnreadableError(
                "inflate_ratio",
                f"the body inflates to more than {MAX_INFLATE_RATIO} times its bytes; "
                "send it uncompressed",
            )
        if len(plain) > room:
            raise UnreadableError(
                "inflated_size", f"the body inflates to more than {room} bytes; send less"
            )
        if inflater.eof and not inflater.unused_data:
            return plain
    raise UnreadableError("content_encoding", "the compressed body is damaged; send it again")


def one_header(headers: Sequence[tuple[str, str]], name: str, *, join: bool = False) -> str:
    """A header that may come once; twice with different values has two readings."""
    values = [value.strip() for key, value in headers if key.lower() == name]
    if join:
        return ",".join(values)
    if len(set(values)) > 1:
        raise UnreadableError(
            "duplicate_header", f"{name} comes with two different values; send it once"
        )
    return values[0] if values else ""


def content_type_of(header: str) -> tuple[str, str, str]:
    """(media type, charset, boundary), the first two in lower case."""
    kind = header.partition(";")[0].strip().lower()
    if ";" not in header:
        return kind, "", ""
    told = Message()
    told["content-type"] = header
    # The very same twice, as some clients send it, means the same to every reader.
    parameters = list(dict.fromkeys((k.lower(), v) for k, v in told.get_params([])[1:]))
    if len(dict(parameters)) < len(parameters) or any(isinstance(v, tuple) for _, v in parameters):
        # Starlette takes the last of two, others the first.
        raise UnreadableError(
            "content_type", "a parameter of the content type comes twice or encoded; send it once"
        )
    values = dict(parameters)
    charset = values.get("charset", "").strip("\"' ").lower().replace("_", "-")
    return kind, charset, values.get("boundary", "")


def is_utf8(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
