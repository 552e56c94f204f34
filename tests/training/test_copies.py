"""Copies that contradict each other, or stand on both sides of a run, are told and not shown."""

from __future__ import annotations

import json
from pathlib import Path

from bertguard.training.copies import doubts
from bertguard.training.examples import Example, corpus_examples, read_examples


def read(file: Path, *rows: dict[str, object]) -> list[Example]:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_examples([str(file)])


def test_a_text_with_both_labels_is_told_by_its_lines(tmp_path: Path) -> None:
    """Once for all of them; another channel is another question."""
    rows = read(
        tmp_path / "rows.jsonl",
        {"text": "write a poem", "label": 0},
        {"text": "write a poem", "label": 1, "channel": "data"},
        {"text": "my secret", "label": 0},
        {"text": " My  SECRET", "label": 1},
        {"text": "my secret", "label": 1},
        {"text": "other", "label": 1},
    )
    (told,) = doubts(rows, read(tmp_path / "v.jsonl", {"text": "more", "label": 1}))
    assert told.startswith("1 texts have both labels in one channel, the first of them at ")
    assert f"{tmp_path}/rows.jsonl:3 and {tmp_path}/rows.jsonl:4:" in told
    assert "secret" not in told


def test_validation_texts_that_are_learnt_are_told_by_their_lines(tmp_path: Path) -> None:
    rows = [{"text": f"my secret {n}", "label": n % 2} for n in range(6)]
    training = read(tmp_path / "rows.jsonl", *rows[:4])
    (told,) = doubts(training, read(tmp_path / "v.jsonl", *rows[5:], *rows[2:4]))
    assert told.startswith(
        f"2 of 3 validation rows are learnt from as well, the first of them {tmp_path}/v.jsonl:2, "
        f"learnt at {tmp_path}/rows.jsonl:3:"
    )
    assert "secret" not in told


def test_a_place_is_no_part_of_what_an_example_is(tmp_path: Path) -> None:
    """Rows that say the same are equal, wherever they stand."""
    one, other = read(tmp_path / "a.jsonl", *[{"text": "a", "label": 0}] * 2)
    assert one == other
    assert one.place != other.place


def test_the_corpus_leaves_no_doubt() -> None:
    assert list(doubts(*corpus_examples(0))) == []
