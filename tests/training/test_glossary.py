"""Glossaries: the package's own and a user's, and what is no line of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertguard.errors import DataError
from bertguard.training.glossary import BUNDLED, read_glossaries


def test_the_bundled_one_explains_words_of_other_languages_in_english() -> None:
    glossary = read_glossaries([BUNDLED])
    assert len(glossary) > 10_000
    assert all(meaning.isascii() for meaning in glossary.values())
    for word in ("Anweisungen", "instrucciones", "инструкции", "निर्देश", "talimatları", "تعليمات"):
        assert glossary[word] == "instructions"


def test_a_word_of_two_languages_means_both(tmp_path: Path) -> None:
    (tmp_path / "es.tsv").write_text("para\tfor\ncome\teat\n\n", encoding="utf-8")
    (tmp_path / "tr.tsv").write_text("para\tmoney\n", encoding="utf-8")
    found = read_glossaries([str(tmp_path / "es.tsv"), str(tmp_path / "tr.tsv")])
    assert found == {"para": "for money", "come": "eat"}
    assert read_glossaries([]) == {}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"para\tfor\nsecreto secret\n", r"mine.tsv, line 2: expected a word, a tab"),
        (b"\tfor\n", r"mine.tsv, line 1: expected"),
        (b"para\tfor\tspanish\n", r"mine.tsv, line 1: expected"),
        (b"para\t\xff\n", r"mine.tsv: not UTF-8 at byte 5"),
    ],
)
def test_what_is_no_glossary_is_said_with_its_line(
    written: bytes, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.tsv"
    file.write_bytes(written)
    with pytest.raises(DataError, match=said) as caught:
        read_glossaries([str(file)])
    assert "secreto" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_glossaries([str(tmp_path / "none.tsv")])
