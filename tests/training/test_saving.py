"""What is written at the end of a training is whole, and can be written again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bertguard.errors import CheckpointError
from bertguard.model.checkpoint import MANIFEST, read_manifest, write_manifest
from bertguard.training import resume
from bertguard.training.card import model_card
from bertguard.training.validation import Scored, keep, take

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
