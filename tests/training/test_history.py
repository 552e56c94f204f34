"""A family tree names every run, and describes each once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bertguard.model.checkpoint import BUNDLED, read_manifest
from bertguard.training.card import model_card
from bertguard.training.history import TOLD, identity, told_once

FIRST = {"name": "first", "command": "guard train a", "rows": 10, "sources": {}}
STAGE = {"name": "stage", "command": "guard train b", "rows": 5, "goes_on_from": FIRST}
OTHER = {"name": "other", "command": "guard train c", "rows": 6, "goes_on_from": FIRST}


def test_an_ancestor_of_several_parts_is_told_once() -> None:
    tree = told_once({"mean_of": [FIRST, STAGE, OTHER]})
    short = {"name": "first", "command": "guard train a", TOLD: identity(FIRST)}
    assert tree == {
        "mean_of": [FIRST, {**STAGE, "goes_on_from": short}, {**OTHER, "goes_on_from": short}]
    }
    assert told_once(tree) == tree


def test_a_mean_inside_a_mean_is_told_once() -> None:
    mean = {"name": "mean", "mean_of": [FIRST, OTHER]}
    tree = told_once({"mean_of": [mean, {**STAGE, "goes_on_from": mean}]})
    assert tree["mean_of"][1]["goes_on_from"] == {"name": "mean", TOLD: identity(mean)}
    assert identity(tree["mean_of"][1]) == identity({**STAGE, "goes_on_from": mean})


def test_the_card_numbers_stages_from_the_oldest_on() -> None:
    """Each run's rows stand in it once; where it comes again, its number says which it is."""
    mean = {"name": "mean", "mean_of": [FIRST, OTHER]}
    tree = told_once({"mean_of": [mean, {**STAGE, "goes_on_from": mean}, FIRST]})
    card = _card(tree)
    assert "stages, of which 3 were trained" in card
    assert [line.partition(":")[0] for line in card.splitlines() if line[:1].isdigit()] == [
        "1. `guard train a`", "2. from 1", "3. the mean of 1 and 2", "4. from 3",
        "5. the mean of 3, 4 and 1",
    ]  # fmt: skip
    assert card.count("10 rows;") == 1


def test_what_old_manifests_point_to_is_found_by_its_command() -> None:
    """They did not say which mean they meant."""
    told = {"name": "first", "command": "guard train a", TOLD: True}
    stage = {**OTHER, "goes_on_from": {"name": "mean", TOLD: True}}
    tree = {"mean_of": [FIRST, {**STAGE, "goes_on_from": told}, stage]}
    assert told_once(tree) == tree
    assert "\n2. from 1: `guard train b`" in _card(tree)
    assert "\n3. from one of the means above: `guard train c`" in _card(tree)


def test_the_card_counts_the_sources_of_all_runs() -> None:
    """The most that one run took, for a licence's sake."""
    rows = {"injection": 3, "benign": 0, "licence": "MIT"}
    first = {**FIRST, "sources": {"b": rows, "a": {**rows, "injection": 1, "benign": 9}}}
    later = {**STAGE, "goes_on_from": first, "sources": {"a": rows}}
    lines = _card(later).splitlines()
    assert "| a | 3 | 9 | MIT | 2 |" in lines
    assert "| b | 3 | 0 | MIT | 1 |" in lines
    assert "| b | 3 | 0 | MIT |" in _card(first).splitlines()


def _card(training: dict[str, Any]) -> str:
    return model_card(replace(read_manifest(BUNDLED), training=training))
