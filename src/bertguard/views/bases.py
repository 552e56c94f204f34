"""Hexadecimal, base32 and base64 to bytes, and bytes to text."""

from __future__ import annotations

import base64
import binascii
import codecs
import re

MAX_SPAN_BYTES = 8192
# Bytes this few are read only where they are clean.
_FEW = 16
_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]{2,})")
_BASE32 = re.compile(r"(?:[A-Z2-7]+|[a-z2-7]+)=*")
_NO_CONTROL = bytes({*b"\t\n\r", *range(32, 127), *range(128, 256)})
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def as_text(raw: bytes) -> str | None:
    """Bytes as UTF-8, or UTF-16 where a mark says so or every second one is zero; None for others.

    A few foreign bytes in a long text are left out: they would be a cheap way to hide the rest.
    """
    if raw.startswith(_UTF16):
        return raw.decode("utf-16", "ignore")
    if len(raw) > 3 and not any(raw[1:40:2]):
        return raw.decode("utf-16-le", "ignore")
    if len(raw) > 3 and not any(raw[0:40:2]):
        return raw.decode("utf-16-be", "ignore")
    controls = raw.translate(None, _NO_CONTROL)
    if not controls:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass
    if len(raw) < _FEW or len(controls) > 0.1 * len(raw):
        return None
    kept = raw.translate(None, controls).decode("utf-8", "ignore")
    return kept if len(kept.encode()) >= 0.85 * len(raw) else None


def from_hex(run: str) -> list[bytes]:
    """The bytes of a run of digits; of an odd number of them without the last or the first."""
    match = _HEX.fullmatch(run)
    if match is None:
        return []
    digits = match[1]
    if len(digits) % 2 == 0:
        return [bytes.fromhex(digits)]
    return [bytes.fromhex(digits[:-1]), bytes.fromhex(digits[1:])]


def from_base32(run: str) -> list[bytes]:
    """The bytes of a run in base32, with or without padding."""
    if not _BASE32.fullmatch(run):
        return []
    digits = run.rstrip("=").upper()
    # One, three and six characters left over carry no whole byte.
    digits = digits[: len(digits) - {1: 1, 3: 1, 6: 1}.get(len(digits) % 8, 0)]
    try:
        return [base64.b32decode(digits + "=" * (-len(digits) % 8))]
    except binascii.Error:
        return []


def from_base64(run: str) -> list[bytes]:
    """The bytes of a run in base64, of either alphabet, with or without padding."""
    digits = run.rstrip("=").replace("-", "+").replace("_", "/")
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    try:
        return [binascii.a2b_base64(digits + "=" * (-len(digits) % 4))]
    except binascii.Error:
        return []
