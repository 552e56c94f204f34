"""Word 8-grams of the public evaluation sets, as hashes: the corpus must not hold their texts.

`python tests/grams.py public_eval.parquet` writes `public_eval.grams` anew: the sorted
32-bit hashes of every 8-gram, as differences, compressed. The texts cannot be read back from it.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from collections.abc import Iterable
from itertools import accumulate, pairwise
from pathlib import Path

FILE = Path(__file__).with_name("public_eval.grams")
_WORD = re.compile(r"\w+")
_LENGTH = 8


def grams(text: str) -> set[int]:
    """The hashes of the word 8-grams of a text; none where it has fewer words."""
    words = _WORD.findall(text.lower())
    return {
        int.from_bytes(
            hashlib.blake2b(" ".join(words[at : at + _LENGTH]).encode(), digest_size=4).digest()
        )
        for at in range(len(words) - _LENGTH + 1)
    }


def read() -> frozenset[int]:
    """The hashes of the evaluation sets."""
    raw = zlib.decompress(FILE.read_bytes())
    steps, step, shift = [], 0, 0
    for byte in raw:
        step |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            steps.append(step)
            step = shift = 0
    return frozenset(accumulate(steps))


def write(texts: Iterable[str]) -> int:
    """Write the file; the number of hashes."""
    found = sorted(set[int]().union(*map(grams, texts)))
    raw = bytearray()
    for before, after in pairwise([0, *found]):
        step = after - before
        while step >= 0x80:
            raw.append(step & 0x7F | 0x80)
            step >>= 7
        raw.append(step)
    FILE.write_bytes(zlib.compress(bytes(raw), 9))
    return len(found)


if __name__ == "__main__":
    from pyarrow import parquet

    table = parquet.read_table(sys.argv[1], columns=["text"])
    written = write(table["text"].to_pylist())
    sys.stdout.write(f"{written} hashes, {FILE.stat().st_size} bytes\n")
