"""What is written at the end of a training is whole, and can be written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bertguard.errors import CheckpointError, ConfigurationError
from bertguard.model.checkpoint import (
    BUNDLED,
    CARD,
    MANIFEST,
    WEIGHTS,
    read_manifest,
    write_manifest,
)
from bertguard.model.writing import must_be_writable
from bertguard.training import resume
from bertguard.training.calibration import Calibration
from bertguard.training.card import model_card
from bertguard.training.examples import Example
from bertguard.training.saving import english_share, save_weights, thresholds_after
from bertguard.training.validation import Scored, keep, take
from disk import full_disk

SURROGATE = "caf\udce9"


def test_validation_scores_stay_until_the_run_is_complete(tmp_path: Path) -> None:
    """The end of a run can be interrupted and done again; discarding the state removes them."""
    scored = [Scored("prompt", 1, 2.5, SURROGATE), Scored("data", 0, -1.0, "a")]
    keep(tmp_path, scored)
    assert take(tmp_path) == take(tmp_path) == scored
    resume.discard(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match="--fresh"):
        take(tmp_path)


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        (["c"], "from other places than the training rows."),
        (["a", "b"], "from the same places as the training rows."),
        (["b", "c"], "of whose 2 places 1 are those of training rows as well."),
    ],
)
def test_a_card_says_whether_validation_was_of_other_sources(
    checkpoint: Path, left_out: list[str], words: str
) -> None:
    """Rows left out by their hash resemble those learnt from: that flatters every figure."""
    learnt = {source: {"injection": 1, "benign": 2} for source in ("a", "b")}
    facts = {"sources": learnt, "validation_rows": 7, "validation_sources": left_out}
    card = model_card(replace(read_manifest(checkpoint), training=facts))
    assert f"7 rows for validation, {words}" in card


def test_a_card_puts_no_texts_behind_thresholds_that_were_kept(checkpoint: Path) -> None:
    """They were set on others, or are the defaults."""
    few = {"benign_texts": 20, "thresholds_fitted": False}
    enough = {"benign_texts": 200, "thresholds_fitted": True}
    manifest = replace(read_manifest(checkpoint), calibration={"prompt": few, "data": enough})
    lines = [line for line in model_card(manifest).splitlines() if line.endswith(" |")]
    assert any(line.endswith("| none (20 were too few) |") for line in lines)
    assert any(line.endswith("| 200 |") for line in lines)


def test_a_bar_in_a_source_breaks_no_card(checkpoint: Path) -> None:
    """Its row keeps its four cells."""
    facts = {"sources": {"a|b": {"injection": 1, "benign": 2, "licence": "MIT | BSD"}}}
    card = model_card(replace(read_manifest(checkpoint), training=facts))
    assert "\n| a\\|b | 1 | 2 | MIT \\| BSD |\n" in card


def test_sources_that_are_no_utf8_can_be_written(checkpoint: Path, tmp_path: Path) -> None:
    """The manifest keeps them as they are, the card shows them escaped."""
    facts = {"sources": {SURROGATE: {"injection": 1, "benign": 2}}}
    manifest = replace(read_manifest(checkpoint), training=facts, files={})
    assert write_manifest(tmp_path, manifest) == read_manifest(tmp_path)
    assert json.loads((tmp_path / MANIFEST).read_bytes())["training"] == facts
    assert "caf\\udce9" in model_card(manifest)
    model_card(manifest).encode("utf-8")


def test_a_few_hundred_texts_lower_no_threshold_for_blocking() -> None:
    """Flagging is theirs to say from a hundred on, blocking from a thousand."""
    before = {"prompt": (0.9, 0.99), "data": (0.9, 0.99)}
    few = Calibration(1.0, 0.5, 0.6, benign=200, injections=50)
    many = Calibration(1.0, 0.5, 0.6, benign=1000, injections=50)
    none = Calibration(1.0, None, None, benign=20, injections=50)
    assert thresholds_after(before, {"prompt": few, "data": many}) == {
        "prompt": (0.5, 0.99),
        "data": (0.5, 0.6),
    }
    assert thresholds_after(before, {"prompt": none}) == {"prompt": (0.9, 0.99)}


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, state and scores: the package's own error names the file, and no half is left."""
    model = torch.nn.Linear(100, 100)
    optimizer = torch.optim.AdamW(model.parameters())
    weights = {"weight": torch.zeros(100, 100)}
    (tmp_path / WEIGHTS).write_text("old")
    scored = [Scored("prompt", 1, 2.5, "a")] * 1000
    with full_disk(monkeypatch, room=10_000):
        writers: list[tuple[str, Callable[[], None]]] = [
            (WEIGHTS, lambda: save_weights(tmp_path, weights)),
            (resume.FOLDER, lambda: resume.save(tmp_path, resume.Progress(""), model, optimizer)),
            (resume.VALIDATION, lambda: keep(tmp_path, scored)),
            ("--out", lambda: must_be_writable(tmp_path)),
        ]
        for name, write in writers:
            with pytest.raises((CheckpointError, ConfigurationError), match="File too large") as e:
                write()
            assert name in str(e.value)
    assert (tmp_path / WEIGHTS).read_text() == "old"
    assert not (tmp_path / f".{WEIGHTS}.part").exists()
    assert not (tmp_path / f"{resume.FOLDER}.new").exists()


def test_a_card_says_what_temperature_was_not_fitted(checkpoint: Path) -> None:
    kept, bound = {"temperature_fitted": False}, {"temperature_at_bound": True}
    manifest = replace(read_manifest(checkpoint), calibration={"prompt": kept, "data": bound})
    card = model_card(manifest)
    assert "| 1.000 (not fitted) |" in card
    assert "| 1.500 (bound of the fit) |" in card


def test_a_card_says_that_english_was_learnt_only_where_it_was(checkpoint: Path) -> None:
    """By the languages that the rows of all runs name; older runs were of English sets."""
    english = [Example("a", 0, language=name) for name in ("en", "EN_us", "English")]
    others = [Example("b", 0, language="de"), Example("c", 0), Example("d", 0, source="corpus.fr")]
    assert english_share([*english, Example("e", 0, source="corpus.en")], 0.0) == 1.0
    assert english_share([*english, *others], 0.0) == 0.5
    assert english_share(english, 0.5) == 0.7
    for facts, said in (
        ({"rows": 9, "english_share": 0.9}, True),
        ({"rows": 9, "english_share": 0.4}, False),
        ({"rows": 9, "english_share": 0.0, "goes_on_from": {"rows": 20, "command": "x"}}, True),
        ({}, False),
    ):
        card = model_card(replace(read_manifest(checkpoint), training=facts))
        assert ("Mostly English was learnt." in card) == said
    assert model_card(read_manifest(BUNDLED)) == (BUNDLED / CARD).read_text(encoding="utf-8")
