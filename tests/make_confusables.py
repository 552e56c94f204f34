"""Writes src/bertguard/views/confusables.txt: characters that look like ASCII letters and digits.

    pip install confusable-homoglyphs==3.3.1 && python tests/make_confusables.py

The look-alikes are those of Unicode Technical Standard 39 (the package carries its table); the
styled and the accented letters follow from the character database in Python's own `unicodedata`.
Only foldings into ASCII letters and digits are kept, the first rule that knows a character wins.
The committed file was made with Python 3.11; a newer `unicodedata` may add characters.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

OUT = Path(__file__).parents[1] / "src/bertguard/views/confusables.txt"
# Two and more letters in one character ("ﬁ", "㏂") fold into at most this many.
LONGEST = 4
NAMED = re.compile(
    r"(?:(?:NEGATIVE |CROSSED )?(?:CIRCLED|SQUARED|PARENTHESIZED) |MODIFIER LETTER |TAG )?"
    r"(?:LATIN )?(?:(?P<capital>CAPITAL)|SMALL|LETTER SMALL CAPITAL|SUBSCRIPT SMALL)"
    r"(?: LETTER)? (?P<letter>[A-Z])(?P<accent> WITH .*)?"
)
# Written by hand: what people take for these letters and the tables do not say. Cyrillic and Greek.
BY_EYE = {
    "b": "ьЬβ", "e": "εєЄ", "h": "Һ", "k": "кКκĸ", "m": "мМ", "n": "пиПИ", "r": "яЯгᴦ", "t": "тТτ",
    "u": "μυцЦ", "w": "шωШщ", "x": "хХχ", "y": "уУүчγ", "v": "νѵ", "o": "οоσӧ", "a": "αаӓ",
    "3": "зЗӡ", "6": "б", "4": "Ч",
}  # fmt: skip


def styled(character: str) -> tuple[str, str]:
    """(kind, ASCII) of a letter that compatibility decomposition or its name gives away."""
    name = unicodedata.name(character, "")
    plain = unicodedata.normalize("NFKC", character)
    if ascii_word(plain) and plain != character:
        return "styled", plain
    match = NAMED.fullmatch(name)
    if match and not name.startswith("TAG"):
        letter = match["letter"] if match["capital"] else match["letter"].lower()
        return ("accented" if match["accent"] else "styled"), letter
    if name.startswith("REGIONAL INDICATOR SYMBOL LETTER "):
        return "styled", name[-1].lower()
    bare = "".join(
        c for c in unicodedata.normalize("NFD", character) if not unicodedata.combining(c)
    )
    if ascii_word(bare):
        return "accented", bare
    return "", ""


def ascii_word(text: str) -> bool:
    return text.isascii() and text.isalnum()


def look_alikes() -> dict[str, str]:
    """UTS 39: character -> the ASCII that it can be taken for, one step over non-ASCII allowed."""
    data = json.loads((files("confusable_homoglyphs") / "confusables.json").read_text("utf-8"))
    neighbours: dict[str, list[str]] = {
        key: [item["c"].strip("\u200e") for item in value] for key, value in data.items()
    }
    found: dict[str, str] = {}
    for character, others in neighbours.items():
        if len(character) != 1 or character.isascii():
            continue
        bare = [re.sub(r"[\u0300-\u036f]", "", other) for other in others]
        direct = [other for other in bare if ascii_word(other)]
        # Over one more step: "в" is like "ʙ", which by its name is a small capital B.
        direct += [styled(other)[1] for other in bare if len(other) == 1 and styled(other)[1]]
        if direct:
            folded = min(direct, key=len)
            # The table makes no difference between I, l and 1; a capital is an I.
            capital = unicodedata.category(character) == "Lu"
            found[character] = "I" if folded == "l" and capital else folded
    return found


def main() -> None:
    table: dict[tuple[str, str], list[str]] = defaultdict(list)
    confusable = look_alikes()
    by_eye = {c: letter for letter, characters in BY_EYE.items() for c in characters}
    for point in range(0x80, sys.maxunicode + 1):
        character = chr(point)
        kind, folded = styled(character)
        if kind == "styled" and (point < 0x250 or len(folded) > 1):
            kind = "accented"  # "º" and "™" are ordinary, and no disguise of a letter
        if not folded:
            folded = by_eye.get(character) or confusable.get(character, "")
            kind = "confusable"
            # Only letters and numbers: "∞" is no "oo", and a combining mark is no "o".
            if unicodedata.category(character)[0] not in "LN":
                continue
            # Letters that languages write with: Turkish "ı" is no disguise.
            kind = "accented" if point < 0x250 else "confusable"
        if folded and len(folded) <= LONGEST:
            table[kind, folded].append(character)
    header = OUT.read_text("utf-8").split("\n\n")[0] if OUT.exists() else "#"
    lines = [f"{kind}\t{folded}\t{''.join(c)}" for (kind, folded), c in sorted(table.items())]
    OUT.write_text(header + "\n\n" + "\n".join(lines) + "\n", "utf-8")
    sys.stdout.write(f"{sum(map(len, table.values()))} characters\n")


if __name__ == "__main__":
    main()
