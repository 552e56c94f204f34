"""Verdict, Finding and Action: values that say where, and never what."""

from __future__ import annotations

import dataclasses
import json
from itertools import product

import pytest

from bertguard import Action, Channel, Finding, Role, Verdict

FINDING = Finding(
    action=Action.BLOCK,
    score=0.987654321,
    threshold=0.9,
    channel=Channel.DATA,
    role=Role.TOOL,
    pointer="/messages/1/content",
    start=3,
    end=17,
    view="folded",
)


def test_actions_rise_in_severity() -> None:
    """allow < flag < block, so the strictest of several is their maximum by severity."""
    assert [action.severity for action in (Action.ALLOW, Action.FLAG, Action.BLOCK)] == [0, 1, 2]
    assert max(Action, key=lambda action: action.severity) is Action.BLOCK


@pytest.mark.parametrize(("action", "enforced"), list(product(Action, (True, False))))
def test_only_an_enforced_block_is_blocked(action: Action, enforced: bool) -> None:
    """Shadow mode reports a block and lets it pass."""
    verdict = Verdict(action, 0.5, 0.5, enforced=enforced)
    assert verdict.blocked is (enforced and action is Action.BLOCK)


def test_the_status_says_whether_everything_was_scanned() -> None:
    """One reason in `unscanned` is enough."""
    assert Verdict(Action.ALLOW, 0.0, 0.5).status == "scanned"
    assert Verdict(Action.ALLOW, 0.0, 0.5, unscanned=("deadline",)).status == "unscanned"


def test_a_verdict_as_json_holds_every_field() -> None:
    """`to_dict` survives a round trip through JSON and forgets no field of verdict or finding."""
    verdict = Verdict(
        Action.BLOCK,
        0.987654321,
        0.9,
        findings=(FINDING,),
        unscanned=("image at /messages/0",),
        scanned_chars=20,
        total_chars=21,
        model_id="keyword",
        dialect="openai.chat",
        notes=("unseen_history",),
    )
    document = verdict.to_dict()
    assert json.loads(json.dumps(document)) == document
    renamed = {"model_id": "model"}
    fields = {renamed.get(f.name, f.name) for f in dataclasses.fields(Verdict)}
    assert set(document) == fields | {"blocked", "status"}
    assert document["findings"] == [
        {
            "action": "block",
            "score": 0.987654,
            "threshold": 0.9,
            "channel": "data",
            "role": "tool",
            "pointer": "/messages/1/content",
            "start": 3,
            "end": 17,
            "view": "folded",
        }
    ]
    assert set(document["findings"][0]) == {f.name for f in dataclasses.fields(Finding)}
    assert document["unscanned"] == ["image at /messages/0"]
    assert (document["blocked"], document["status"]) == (True, "unscanned")


def test_verdicts_are_values() -> None:
    """Equal contents are equal verdicts, fit for a set, and nobody can change one."""
    one, other = (Verdict(Action.FLAG, 0.6, 0.5, findings=(FINDING,)) for _ in range(2))
    assert one == other
    assert len({one, other}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.action = Action.ALLOW  # type: ignore[misc]
