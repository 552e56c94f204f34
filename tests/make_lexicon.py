"""Write src/bertguard/views/lexicon.txt anew: python tests/make_lexicon.py TRAINING_FILES…

Counts in how many texts and sources a word stands; the validation sources of the recipe are left
out, so that a measure on them stays a measure.
"""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path

from bertguard.training.examples import Where, read_examples

LEXICON = Path(__file__).parents[1] / "src/bertguard/views/lexicon.txt"
# In so many texts and sources: known; in so many texts: common enough to be what was meant.
TEXTS, SOURCES, COMMON = 6, 4, 15
_WORD = re.compile(r"[a-z]+")


def main(paths: list[str]) -> None:
    """Read the files, count, write."""
    recipe = files("bertguard.training") / "recipes/onward.toml"
    left_out = set(tomllib.loads(recipe.read_text("utf-8"))["validation_source"])
    texts: Counter[str] = Counter()
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for row in read_examples(paths, where=Where.parse("ship=true")):
        if row.source not in left_out:
            for word in set(_WORD.findall(row.text[:4000].lower())):
                texts[word] += 1
                sources[word].add(row.source)
    words = [
        (word, count)
        for word, count in sorted(texts.items(), key=lambda item: (-item[1], item[0]))
        if 4 <= len(word) <= 16 and count >= TEXTS and len(sources[word]) >= SOURCES
    ]
    parts = [
        (
            "# Words that a text in English is made of, four letters and more, lower case: those "
            "that six texts\n# and more of four sources and more of the training files hold, the "
            "commonest first (words of other\n# languages among them: they are no misspellings "
            "either). They tell a misspelt word from one that is\n# merely unusual. Nothing is "
            "blocked for holding or lacking one of them. Written by make_lexicon.py.\n",
            [word for word, count in words if count >= COMMON],
        ),
        (
            "# Rarer: known, but nothing is taken for a misspelling of them.\n",
            [word for word, count in words if count < COMMON],
        ),
    ]
    LEXICON.write_text(
        "".join(
            f"{comment}{textwrap.fill(' '.join(part), 110, break_on_hyphens=False)}\n"
            for comment, part in parts
        ),
        encoding="utf-8",
    )
    sys.stdout.write(f"{LEXICON.name}: {len(words)} words\n")


if __name__ == "__main__":
    main(sys.argv[1:])
