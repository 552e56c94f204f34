"""The body of `POST /v1/check`: what may be asked, read strictly.

    {"text": "...", "channel": "prompt" | "data"}
    {"segments": [{"text": "...", "role": "user", "channel": "prompt"}, ...]}
    {"body": <any JSON>, "path": "/v1/chat/completions"}

An error names the field and never repeats a value. A field that is not known is an error, so that
a typing mistake ("chanel") does not quietly choose a default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from bertguard.segments import Channel, Role, Segment

if TYPE_CHECKING:
    from bertguard.guard import Guard
    from bertguard.verdict import Verdict

__all__ = ["BadCheckError", "Check", "read_check"]


class BadCheckError(Exception):
    """A request to `/v1/check` that cannot be answered; `field` says which part of it.

    It is the answer to an HTTP request and never leaves the server, hence no GuardError.
    """

    def __init__(self, field: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.status = status


@dataclass(frozen=True, slots=True)
class Check:
    """What to judge: segments, or (where `body` is not None) a request body for a path."""

    segments: tuple[Segment, ...] = ()
    text: str | None = None
    channel: Channel = Channel.PROMPT
    body: bytes | None = None
    path: str = ""

    async def run(self, guard: Guard) -> Verdict:
        """Ask the guard."""
        if self.text is not None:
            return await guard.check(self.text, self.channel)
        if self.body is not None:
            headers = (("content-type", "application/json"),)
            return await guard.check_body(self.body, path=self.path, headers=headers)
        return await guard.check_segments(self.segments)


def read_check(body: bytes) -> Check:
    """Read the JSON body of a check.

    Raises:
        BadCheckError: it is no JSON, or a field is missing, unknown or of the wrong kind.
    """
    document = _document(body)
    asked = [field for field in ("text", "segments", "body") if field in document]
    if len(asked) != 1:
        raise BadCheckError(
            asked[1] if asked else "text",
            'expected exactly one of "text", "segments" and "body"',
        )
    if asked == ["text"]:
        _only(document, "", ("text", "channel"))
        return Check(
            text=_string(document["text"], "text"),
            channel=_channel(document, "", Channel.PROMPT),
        )
    if asked == ["segments"]:
        _only(document, "", ("segments",))
        return Check(segments=_segments(document["segments"]))
    _only(document, "", ("body", "path"))
    return Check(
        # Escapes keep every code point, lone surrogates too: the guard's own reader judges them.
        body=json.dumps(document["body"]).encode("ascii"),
        path=_string(document.get("path", ""), "path"),
    )


def _document(body: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(
            body,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        # The message of a JSON error quotes nothing, but one about Unicode holds the bytes.
        raise BadCheckError("", "the body is not JSON that can be read in one way") from None
    if not isinstance(document, dict):
        raise BadCheckError("", "the body is not a JSON object")
    return document


def _finite(digits: str) -> float:
    """Of numbers nothing is scored; 1e999 would be written as a word that is no JSON."""
    number = float(digits)
    return number if math.isfinite(number) else 0.0


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate key")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _only(document: Mapping[str, object], prefix: str, known: Sequence[str]) -> None:
    if not document.keys() <= set(known):
        # The unknown name itself may be anybody's text.
        names = ", ".join(f'"{name}"' for name in known)
        raise BadCheckError(prefix, f"{prefix or 'the body'} has an unknown field; known: {names}")


def _string(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise BadCheckError(field, f"{field} is not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadCheckError(field, f"{field} holds half of a surrogate pair") from None
    return value


def _channel(document: Mapping[str, object], prefix: str, default: Channel) -> Channel:
    value, field = document.get("channel", default), f"{prefix}channel"
    try:
        return Channel(_string(value, field))
    except ValueError:
        raise BadCheckError(field, f'{field} is unknown; use "prompt" or "data"') from None


def _segments(value: object) -> tuple[Segment, ...]:
    if not isinstance(value, list) or not value:
        raise BadCheckError("segments", "segments is not a list with at least one item")
    return tuple(_segment(item, number) for number, item in enumerate(value))


def _segment(item: object, number: int) -> Segment:
    field = f"segments[{number}]"
    if not isinstance(item, dict):
        raise BadCheckError(field, f"{field} is not an object")
    _only(item, field, ("text", "role", "channel"))
    if "text" not in item:
        raise BadCheckError(f"{field}.text", f"{field}.text is missing")
    try:
        role = Role(_string(item.get("role", Role.USER), f"{field}.role"))
    except ValueError:
        roles = ", ".join(role.value for role in Role)
        raise BadCheckError(f"{field}.role", f"{field}.role is unknown; use {roles}") from None
    # What a tool returned is read by the LLM, not said to it.
    default = Channel.DATA if role is Role.TOOL else Channel.PROMPT
    return Segment(
        text=_string(item["text"], f"{field}.text"),
        role=role,
        channel=_channel(item, f"{field}.", default),
        pointer=f"/segments/{number}/text",
    )
