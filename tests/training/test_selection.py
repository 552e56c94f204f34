"""What is learnt from and what is left out follows from the files and options alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from bertguard.errors import DataError
from bertguard.training.examples import CORPUS, Where
from bertguard.training.selection import Selection


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Three sources with 4, 8 and 12 rows of each label in each channel."""
    file = tmp_path / "rows.jsonl"
    rows = [
        {"text": f"{source} {channel} {label} {n} {'long ' * n}", "label": label,
         "channel": channel, "source": source, "ship": n % 2 == 0}
        for source, count in (("small", 4), ("middle", 8), ("large", 12))
        for channel in ("prompt", "data")
        for label in (0, 1)
        for n in range(count)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def test_without_a_word_on_validation_texts_are_left_out_by_their_hash(data: str) -> None:
    """Every row is on one side, and a second reading parts them alike."""
    training, validation = Selection(data=[data], validation_share=0.3).read()
    assert len(training) + len(validation) == 96
    assert (training, validation) == Selection(data=[data], validation_share=0.3, seed=5).read()


def test_sources_left_out_are_capped_like_those_learnt_from_and_never_repeated(data: str) -> None:
    """A limit holds on both sides; small sources are repeated only to learn from."""
    training, validation = Selection(
        data=[data],
        validation_sources=["large"],
        most={("prompt", 0): 5},
        least={("prompt", 1): 16, ("data", 1): 8},
    ).read()
    learnt = Counter((row.source, row.channel, row.label) for row in training)
    assert {row.source for row in validation} == {"large"}
    assert sum(row.channel == "prompt" and row.label == 0 for row in validation) == 5
    assert sum(row.label for row in validation) == 24
    assert learnt["middle", "prompt", 0] == 5
    assert learnt["small", "prompt", 1] == learnt["middle", "prompt", 1] == 16
    assert learnt["small", "data", 1] == 8
    assert learnt["small", "data", 0] == 4


def test_folds_leave_every_source_out_once(data: str) -> None:
    """The parts of a rotation make up the data."""
    held_out = [
        {row.source for row in Selection(data=[data], fold=(fold, 3)).read()[1]}
        for fold in (1, 2, 3)
    ]
    assert sorted(map(sorted, held_out)) == [["large"], ["middle"], ["small"]]


def test_a_file_to_validate_on_leaves_the_data_whole(data: str) -> None:
    """A condition counts for both files; limits count for what is learnt from."""
    training, validation = Selection(
        data=[data], validation=[data], where=Where.parse("ship=true"), most={("data", 1): 1}
    ).read()
    assert len(validation) == 48
    assert len(training) == 48 - 12 + 3


def test_long_injections_of_the_data_channel_alone_are_not_learnt_from(data: str) -> None:
    """Where in them the payload lies is not known; as validation they stay."""
    training, validation = Selection(
        data=[data], validation_sources=["large"], most_injection_chars=30
    ).read()
    longest = Counter[tuple[str, int]]()
    for row in training:
        kind = row.channel, row.label
        longest[kind] = max(longest[kind], len(row.text))
    assert longest.pop(("data", 1)) <= 30
    assert min(longest.values()) > 30
    assert max(len(row.text) for row in validation if row.label and row.channel == "data") > 30


def test_what_the_corpus_keeps_to_choose_by_is_validated_on_alone(data: str) -> None:
    """The source `corpus` of the package: nothing of it is learnt from."""
    training, validation = Selection(data=[data], validation_sources=[CORPUS]).read()
    assert len(training) == 96
    assert {row.source for row in validation} == {CORPUS}


def test_without_files_the_corpus_is_the_data(data: str) -> None:
    """And a file to validate on may stand beside it."""
    training, validation = Selection().read()
    assert all(row.source.startswith("corpus.") for row in training + validation)
    alone, given = Selection(validation=[data]).read()
    assert alone == training
    assert len(given) == 96


def test_where_no_row_is_left_the_options_are_named(data: str) -> None:
    """Not the model that learnt nothing, nor a division by the number of rows."""
    none = {(channel, label): 0 for channel in ("prompt", "data") for label in (0, 1)}
    with pytest.raises(DataError, match="none of 96 rows is left to learn from: --most-per-source"):
        Selection(data=[data], validation=[data], most=none).read()
    with pytest.raises(DataError, match="none of 48 rows is left to validate on"):
        Selection(data=[data], validation_sources=["large"], most=none).read()


def test_sources_of_a_recipe_that_own_data_lacks_are_explained(data: str) -> None:
    with pytest.raises(DataError, match="data of your own needs --validation FILE"):
        Selection(data=[data], validation_sources=["oasst_prompts"]).read()
