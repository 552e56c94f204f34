"""JSON as Python reads it, and then strictly: whatever two readers could read differently fails.

Bytes are taken exactly as `json.loads(bytes)` takes them (UTF-8, UTF-16 and UTF-32, each with or
without a byte order mark). On top of that: no invalid or lone surrogates, no `NaN` or `Infinity`,
no key twice (also not in another case or width: Go's reader takes `Messages` for `messages`), no
nesting beyond 64, no number of more than 1,000 digits. Time and memory are linear in the text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from collections.abc import Iterator
from itertools import accumulate
from json import detect_encoding

from bertguard.errors import UnreadableError
from bertguard.wire.vocabulary import PROTOCOL_WORDS

MAX_NESTING = 64
MAX_NUMBER_DIGITS = 1_000

NOT_JSON = frozenset({"invalid_json", "trailing_data"})
"""Reasons that say "this is no JSON" instead of "this JSON has more than one reading"."""

# A string token; one without an end runs to the end of the text, so that no quote is visited
# twice. The possessive forms keep the search linear.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?(?:"|\Z)', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_DIGITS = "0123456789"
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_LINE_END = re.compile(r"\r?\n")
# In UTF-16 a run of ASCII is a run of Chinese characters, half as long; other scripts have none.
_ASCII_WORDS = re.compile(rb"[\t\n\r -~]{6,}")
_MOST_ASCII_BYTES = 12
_STEP = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def decode_json(body: bytes) -> str:
    """The text of JSON bytes, in the encoding that Python's reader would detect.

    Raises:
        UnreadableError: `invalid_utf8`, `invalid_utf16`, `invalid_utf32` or `two_encodings`.
    """
    encoding = detect_encoding(body)
    if not encoding.startswith("utf-8") and holds_ascii_words(body):
        raise UnreadableError(
            "two_encodings", f"the request body is {encoding} and ASCII as well; send JSON in UTF-8"
        )
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        family = encoding.removesuffix("-sig").replace("-", "")[:5]
        raise UnreadableError(
            f"invalid_{family}", f"the request body is not valid {encoding}; send JSON in UTF-8"
        ) from None


def holds_ascii_words(wide: bytes) -> bool:
    """Whether bytes that are UTF-16 or UTF-32 hold words for a reader of plain bytes as well."""
    return sum(map(len, _ASCII_WORDS.findall(wide))) > _MOST_ASCII_BYTES


def parse_json(text: str) -> object:
    """The value of a JSON text.

    Raises:
        UnreadableError: `nesting`, `number_digits`, `not_a_number`, `duplicate_key`,
            `lone_surrogate`, `trailing_data` or `invalid_json`.
    """
    if _nesting(text) > MAX_NESTING:
        raise UnreadableError(
            "nesting", f"the request body nests deeper than {MAX_NESTING}; send flatter JSON"
        )
    numbers = _short_number if _has_long_number(text) else None
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=None if numbers is None else lambda digits: int(numbers(digits)),
            parse_float=None if numbers is None else lambda digits: float(numbers(digits)),
        )
    # `from None`: a JSONDecodeError carries the whole text.
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise UnreadableError(
                "trailing_data", "something follows the JSON value; send one value per request"
            ) from None
        raise UnreadableError(
            "invalid_json",
            f"the request body is not JSON at character {error.pos}; send valid JSON",
        ) from None
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(value)
    return value


def is_json(text: str) -> bool:
    """Whether a reader that takes keys twice, `NaN` and the like reads the whole text as JSON."""
    if _nesting(text) > MAX_NESTING:
        return text.rstrip()[-1:] in ("]", "}")
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):
        return True  # a number beyond what Python takes, in a text that is JSON so far
    return True


def parse_lines(text: str) -> list[object]:
    """The values of JSON Lines, blank lines left out.

    Raises:
        UnreadableError: as `parse_json`; `invalid_json` where a line is no JSON value.
    """
    lines = [line for line in _LINE_END.split(text) if line and not line.isspace()]
    # One parse for all lines. The line feed beside each comma keeps a string from running over
    # the end of its line, where JSON allows no raw control character.
    values = parse_json("[" + ",\n".join(lines) + "]")
    if not isinstance(values, list) or len(values) != len(lines):
        raise UnreadableError("invalid_json", "a line is not one JSON value; send one per line")
    return values


def unescaped(text: str) -> Iterator[str]:
    """What the string tokens of a JSON text say, of those that hold an escape."""
    for token in _STRING.findall(text):
        if "\\" in token:
            try:
                value = json.loads(token, strict=False)
                value.encode("utf-8")
            except ValueError:
                continue
            yield value


def _nesting(text: str) -> int:
    """How deep brackets nest outside of strings, or a bound that is small enough.

    Counted before the parser sees the text: its own recursion is only as safe as the recursion
    limit that the application has set.
    """
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return MAX_NESTING
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text)).encode("ascii").translate(_STEP)
    return max(accumulate(array("b", brackets)), default=0)


def _has_long_number(text: str) -> bool:
    """Whether more than `MAX_NUMBER_DIGITS` digits stand in a row, in a string or not.

    Such a run covers one of the characters looked at, each so many on. A regular expression
    would hold the GIL for some milliseconds of every megabyte.
    """
    for at in range(MAX_NUMBER_DIGITS, len(text), MAX_NUMBER_DIGITS + 1):
        if text[at] in _DIGITS:
            before = text[at - MAX_NUMBER_DIGITS : at]
            after = text[at : at + MAX_NUMBER_DIGITS + 1]
            run = len(before) - len(before.rstrip(_DIGITS))
            run += len(after) - len(after.lstrip(_DIGITS))
            if run > MAX_NUMBER_DIGITS:
                return True
    return False


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) == len(pairs) and (
        len(pairs) < 2
        or _PLAIN_KEYS.issuperset(result)
        or len({_folded(key) for key in result}) == len(pairs)
    ):
        return result
    raise UnreadableError(
        "duplicate_key",
        "an object holds a key twice, or two keys that differ only in case or width, "
        "and readers disagree on which counts; send each key once",
    )


def _folded(key: str) -> str:
    return key.lower() if key.isascii() else unicodedata.normalize("NFKC", key).casefold()


# The words of the formats that are as they fold: no two of them can fold to one.
_PLAIN_KEYS = frozenset(word for word in PROTOCOL_WORDS if word == _folded(word))


def _no_constant(name: str) -> float:
    raise UnreadableError("not_a_number", f"{name} is not JSON; send a number or null")


def _short_number(digits: str) -> str:
    if len(digits) > MAX_NUMBER_DIGITS:
        raise UnreadableError(
            "number_digits",
            f"a number has more than {MAX_NUMBER_DIGITS} digits; send it as a string",
        )
    return digits


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise UnreadableError(
            "lone_surrogate", "an escape stands for half a character; send whole characters"
        ) from None
