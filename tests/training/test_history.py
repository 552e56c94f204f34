"""A family tree names every run, and describes each once."""

from __future__ import annotations

from dataclasses import replace

from bertguard.model.checkpoint import BUNDLED, read_manifest
from bertguard.training.card import model_card
from bertguard.training.history import TOLD, told_once

FIRST = {"name": "first", "command": "guard train a", "rows": 10, "sources": {}}
STAGE = {"name": "stage", "command": "guard train b", "rows": 5, "goes_on_from": FIRST}
OTHER = {"name": "other", "command": "guard train c", "rows": 6, "goes_on_from": FIRST}


def test_an_ancestor_of_several_parts_is_told_once() -> None:
    tree = told_once({"mean_of": [FIRST, STAGE, OTHER]})
    short = {"name": "first", "command": "guard train a", TOLD: True}
    assert tree == {
        "mean_of": [FIRST, {**STAGE, "goes_on_from": short}, {**OTHER, "goes_on_from": short}]
    }
    assert told_once(tree) == tree


def test_a_mean_inside_a_mean_is_told_once() -> None:
    mean = {"name": "mean", "mean_of": [FIRST, OTHER]}
    tree = told_once({"mean_of": [mean, {**STAGE, "goes_on_from": mean}]})
    assert tree["mean_of"][1]["goes_on_from"] == {"name": "mean", TOLD: True}


def test_the_card_points_up() -> None:
    """Each run's rows stand in it once; where it comes again, its command says which it is."""
    manifest = read_manifest(BUNDLED)
    card = model_card(replace(manifest, training=told_once({"mean_of": [FIRST, STAGE, OTHER]})))
    assert card.count("10 rows,") == 1
    assert card.count("As told above: `guard train a`") == 2
