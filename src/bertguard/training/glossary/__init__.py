"""What words of other languages mean in English: the glossary of the package, and a user's own.

One file per language (`de.tsv`), a word and its meaning per line with a tab between. Our own
words, the project's licence. `guard extend --glossary bundled` gives each of them a row that starts
as the English words do, so that a layer that learnt English reads a gloss of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from bertguard.errors import DataError

BUNDLED = "bundled"
"""The name of the package's own glossary where a file is asked for."""


def read_glossaries(names: Iterable[str]) -> dict[str, str]:
    """A word -> its meaning, of files or of the package (`BUNDLED`).

    A word that stands in several, in two languages say, means what all of them say.

    Raises:
        DataError: a file cannot be read, or a line is no word, tab, meaning; it names both.
    """
    found: dict[str, list[str]] = {}
    for name, text in _files(names):
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            word, _, meaning = (part.strip() for part in line.partition("\t"))
            if not (word and meaning) or "\t" in meaning:
                raise DataError(f"{name}, line {number}: expected a word, a tab and its meaning")
            meanings = found.setdefault(word, [])
            if meaning not in meanings:
                meanings.append(meaning)
    return {word: " ".join(meanings) for word, meanings in found.items()}


def _files(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name == BUNDLED:
            own = sorted(files(__name__).iterdir(), key=lambda entry: entry.name)
            tables = [entry for entry in own if entry.name.endswith(".tsv")]
            yield from ((entry.name, entry.read_text("utf-8")) for entry in tables)
            continue
        try:
            yield name, Path(name).read_text("utf-8")
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: not UTF-8 at byte {error.start:,}") from error
