"""The corpus that ships with the package: hand-written seeds, both labels and channels.

One file per channel, label and language (`prompt.injection.de.txt`), one seed per line. `# word`
names the category of the lines below it, `\\n` is a line break, and `[[a|b|c]]` stands for one of
its alternatives, so that a seed is a small family of texts. Our own words, the project's licence.

What another hand wrote to choose by (`prompt.injection.de.validation.txt`) is never trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

from bertguard.errors import DataError

_LABELS = {"benign": 0, "injection": 1}
_CHOICE = re.compile(r"\[\[(.*?)\]\]")


@dataclass(frozen=True, slots=True)
class Seed:
    """One line of the corpus: a text, or a family of texts where it has alternatives."""

    text: str
    label: int
    channel: str
    language: str
    category: str
    held_out: bool = False

    def spoken(self, rng: Random) -> str:
        """One text of the family."""
        return _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), self.text)


@cache
def read_corpus() -> tuple[Seed, ...]:
    """Every seed, in a fixed order.

    Raises:
        DataError: a file whose name or line is not as described above; it names both.
    """
    folder = files(__name__)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".txt"))
    return tuple(
        seed for name in names for seed in _seeds(name, (folder / name).read_text("utf-8"))
    )


def _seeds(name: str, text: str) -> Iterator[Seed]:
    channel, label, language, *rest = [*name.removesuffix(".txt").split("."), "", "", ""]
    held_out = rest[0] == "validation"
    known = channel in ("prompt", "data") and label in _LABELS
    if not known or not language or any(rest[held_out:]):
        raise DataError(f"{name}: expected a name such as prompt.injection.en.txt")
    category = "general"
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("# "):
            category = line[2:].strip()
        elif line.strip():
            if line.count("[[") != line.count("]]") or line.count("[[") != len(
                _CHOICE.findall(line)
            ):
                raise DataError(f"{name}, line {number}: unbalanced [[ ]]")
            seed = line.strip().replace("\\n", "\n")
            yield Seed(seed, _LABELS[label], channel, language, category, held_out)
