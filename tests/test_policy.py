"""Policy and Thresholds: scores become actions, and options that cannot work are refused."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertguard import Action, Channel, Policy, Role, Thresholds
from bertguard.errors import ConfigurationError, GuardError

probabilities = st.floats(0, 1)


@given(a=probabilities, b=probabilities, score=probabilities)
def test_a_threshold_belongs_to_what_it_starts(a: float, b: float, score: float) -> None:
    """`>= block_at` blocks, `>= flag_at` flags, anything lower passes."""
    thresholds = Thresholds(min(a, b), max(a, b))
    action = thresholds.action(score)
    assert (action is Action.BLOCK) == (score >= thresholds.block_at)
    assert (action is Action.ALLOW) == (score < thresholds.flag_at)
    assert thresholds.action(thresholds.block_at) is Action.BLOCK


@given(a=probabilities, b=probabilities, scores=st.tuples(probabilities, probabilities))
def test_a_higher_score_is_never_treated_more_mildly(
    a: float, b: float, scores: tuple[float, float]
) -> None:
    """Actions rise with the score."""
    thresholds = Thresholds(min(a, b), max(a, b))
    low, high = sorted(scores)
    assert thresholds.action(low).severity <= thresholds.action(high).severity


@pytest.mark.parametrize(
    ("flag_at", "block_at", "message"),
    [
        (-0.1, 0.5, "flag_at=-0.1 is not a probability"),
        (0.5, 1.3, r"block_at=1.3 is not a probability; use a number in \[0, 1\]"),
        (float("nan"), 0.5, "flag_at=nan"),
        (0.5, float("inf"), "block_at=inf"),
        ("0.5", 0.6, "flag_at='0.5'"),
        (0.9, 0.5, "flag_at=0.9 is above block_at=0.5"),
    ],
)
def test_thresholds_that_cannot_work_are_refused(
    flag_at: float, block_at: float, message: str
) -> None:
    """The error names the option, what it was and what to use."""
    with pytest.raises(ConfigurationError, match=message):
        Thresholds(flag_at, block_at)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "audit"}, 'mode=\'audit\' is unknown; use "enforce" or "shadow"'),
        ({"on_unscanned": "pass"}, "on_unscanned='pass' is unknown"),
        ({"thresholds": {"email": Thresholds(0.1, 0.2)}}, 'channels are "prompt" and "data"'),
        ({"thresholds": {"prompt": 0.5}}, r"thresholds\['prompt'\]=0.5 is a float; use Thresholds"),
        ({"thresholds": 0.5}, 'channels are "prompt" and "data"'),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], message: str) -> None:
    """A configuration error is a GuardError and a ValueError, so either way of catching works."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        Policy(**options)  # type: ignore[arg-type]
    assert isinstance(caught.value, GuardError)
    assert isinstance(caught.value, ValueError)


def test_the_defaults_enforce_and_fail_closed() -> None:
    """An operator who decides nothing gets a guard that blocks, also what it could not scan."""
    policy = Policy()
    assert policy.mode == "enforce"
    assert policy.unscanned_action is Action.BLOCK
    assert policy.trusted_roles is None


@pytest.mark.parametrize("given", ["flag", Action.FLAG])
def test_actions_may_be_given_by_name_or_member(given: Action) -> None:
    """`"flag"` and `Action.FLAG` mean the same."""
    assert Policy(on_unscanned=given).unscanned_action is Action.FLAG


def test_thresholds_are_the_operators_else_the_checkpoints() -> None:
    """Each channel by itself; channels may be given by name."""
    own = Thresholds(0.3, 0.4)
    policy = Policy(thresholds={"data": own})  # type: ignore[dict-item]
    defaults = {"prompt": (0.5, 0.9), "data": (0.6, 0.8)}
    assert policy.thresholds_for(Channel.DATA, defaults) == own
    assert policy.thresholds_for(Channel.PROMPT, defaults) == Thresholds(0.5, 0.9)
    assert Policy().thresholds_for(Channel.DATA, defaults) == Thresholds(0.6, 0.8)


def test_a_checkpoint_with_impossible_thresholds_is_noticed() -> None:
    """Defaults go through the same checks as the operator's own."""
    with pytest.raises(ConfigurationError, match="above block_at"):
        Policy().thresholds_for(Channel.PROMPT, {"prompt": (0.9, 0.1)})


def test_a_policy_cannot_be_changed() -> None:
    """Nothing that handles a request can loosen it."""
    policy = Policy(trusted_roles=frozenset({Role.SYSTEM}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.mode = "shadow"  # type: ignore[misc]
