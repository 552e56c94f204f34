"""Temperature and thresholds are what their definitions say."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from bertguard.training.calibration import (
    at_prior,
    calibrate,
    cautious,
    fit_temperature,
    thresholds_for,
)
from bertguard.training.validation import Scored, validation_loss


def sample(count: int, *, centre: float, label: int, seed: int = 0) -> list[Scored]:
    rng = Random(seed + label)
    return [Scored("data", label, rng.gauss(centre, 2.0)) for _ in range(count)]


def score(margin: float, temperature: float, prior: float = 0.1) -> float:
    return 1 / (1 + math.exp(-margin / temperature) * (1 - prior) / prior)


@settings(max_examples=20)
@given(shift=st.floats(-2, 6), seed=st.integers(0, 50), prior=st.floats(0.01, 0.9))
def test_thresholds_keep_their_false_alarm_rates(shift: float, seed: int, prior: float) -> None:
    """Law: at most 1% of the benign texts are flagged and 0.1% blocked, and flag <= block."""
    scored = [
        *sample(2000, centre=-shift, label=0, seed=seed),
        *sample(300, centre=shift, label=1, seed=seed),
    ]
    found = calibrate(scored, prior=prior)["data"]
    assert found.flag_at is not None
    assert found.block_at is not None
    # No likelier an injection than any text: no flag.
    assert prior - 1e-6 <= found.flag_at <= found.block_at <= 0.999989
    benign = [score(text.margin, found.temperature, prior) for text in scored if text.label == 0]
    assert sum(s >= found.flag_at + 1e-5 for s in benign) <= 20
    assert sum(s >= found.block_at + 1e-5 for s in benign) <= 2
    # Whatever traffic the scores are for, the same texts reach the thresholds.
    half = calibrate(scored, prior=0.5)["data"]
    assert half.flag_at is not None
    assert math.isclose(at_prior(half.flag_at, 0.5, prior), found.flag_at, abs_tol=0.01)


def test_a_prior_is_bayes_rule() -> None:
    """Nine to one at even odds is one to one where one text in ten is an injection, and back."""
    assert math.isclose(at_prior(0.9, 0.5, 0.1), 0.5)
    assert math.isclose(at_prior(0.5, 0.1, 0.5), 0.9)
    assert math.isclose(at_prior(at_prior(0.37, 0.2, 0.7), 0.7, 0.2), 0.37)
    assert (at_prior(0.0, 0.5, 0.1), at_prior(1.0, 0.5, 0.1)) == (0.0, 1.0)


def test_too_few_benign_texts_set_no_threshold() -> None:
    """Ninety-nine texts say nothing about one false alarm in a hundred."""
    scored = [*sample(99, centre=-2, label=0), *sample(99, centre=2, label=1)]
    assert calibrate(scored)["data"].flag_at is None
    assert calibrate(scored)["prompt"].temperature == 1.0


def test_no_source_pays_for_the_others() -> None:
    """One hundred alarms in ten thousand may not all be e-mails."""
    rng = Random(3)
    pages = [rng.uniform(0.0, 0.3) for _ in range(9_000)]
    mails = [rng.uniform(0.0, 1.0) for _ in range(1_000)]
    scores, sources = [*pages, *mails], ["pages"] * 9_000 + ["mails"] * 1_000
    flag_at, block_at = thresholds_for(scores, sources, flag_rate=0.01, block_rate=0.001)
    assert sum(score >= flag_at for score in mails) == 20
    assert sum(score >= block_at for score in mails) == 2
    pooled, _ = thresholds_for(scores, [""] * 10_000, flag_rate=0.01, block_rate=0.001)
    assert sum(score >= pooled for score in scores) == 100


def test_a_source_too_small_to_tell_sets_nothing() -> None:
    """Two alarms among ninety texts say nothing about one in fifty; three in a hundred do."""
    scores, sources = [0.9, 0.9, *[0.0] * 88, *[0.0] * 4_000], ["few"] * 90 + ["many"] * 4_000
    flag_at, _ = thresholds_for(scores, sources, flag_rate=0.01, block_rate=0.001)
    assert flag_at <= 0.9
    scores, sources = [*[0.9] * 3, *[0.0] * 97, *[0.0] * 4_000], ["few"] * 100 + ["many"] * 4_000
    flag_at, _ = thresholds_for(scores, sources, flag_rate=0.01, block_rate=0.001)
    assert flag_at > 0.9


def test_twins_of_attacks_set_no_threshold() -> None:
    """Innocent texts written to look hostile choose a checkpoint; ordinary ones its thresholds."""
    ordinary = sample(1000, centre=-6, label=0)
    hostile = sample(300, centre=6, label=1)
    twins = [Scored("data", 0, 6.0, "corpus")] * 300
    alone, beside = calibrate([*ordinary, *hostile]), calibrate([*ordinary, *hostile, *twins])
    assert (alone["data"].benign, beside["data"].benign) == (1000, 1000)
    found = beside["data"].flag_at
    assert found is not None
    assert found < score(6.0, beside["data"].temperature)
    assert calibrate([*twins, *hostile])["data"].benign == 300


@settings(max_examples=50)
@given(
    scored=st.lists(
        st.tuples(st.sampled_from([0.1, 0.5, 0.6, 0.9]), st.sampled_from("ab")),
        min_size=100,
        max_size=400,
    )
)
def test_equal_scores_fall_on_one_side(scored: list[tuple[float, str]]) -> None:
    """Law: however many texts share a score, the rates hold."""
    scores, sources = zip(*scored, strict=True)
    flag_at, block_at = thresholds_for(scores, sources, flag_rate=0.05, block_rate=0.01)
    assert flag_at <= block_at
    for name in {"", *sources}:
        own = [score for score, source in scored if not name or source == name]
        slack = 2 if name else 1
        if len(own) * 0.05 >= 1:
            assert sum(score >= flag_at for score in own) <= 0.05 * slack * len(own)


@settings(max_examples=20)
@given(stretch=st.floats(0.5, 5))
def test_temperature_undoes_overconfidence(stretch: float) -> None:
    """Margins stretched by a factor need a temperature larger by that factor."""
    rng = Random(1)
    benign = [rng.gauss(-1.5, 1.5) for _ in range(800)]
    hostile = [rng.gauss(1.5, 1.5) for _ in range(800)]
    plain = fit_temperature(benign, hostile)
    wide = fit_temperature([m * stretch for m in benign], [m * stretch for m in hostile])
    assert math.isclose(wide, max(0.2, min(10, plain * stretch)), rel_tol=0.01)


def test_every_group_weighs_the_same_in_the_loss() -> None:
    """A thousand easy prompts do not hide ten missed injections."""
    easy = [Scored("prompt", 0, -8.0)] * 1000
    missed = [Scored("data", 1, -8.0)] * 10
    assert validation_loss([*easy, *missed]) > 3.9


def test_too_few_texts_raise_a_threshold_and_lower_none() -> None:
    """The highest of 120 scores says nothing of one false alarm in a thousand."""
    assert cautious(0.51, 0.99, benign=120, rate=0.001) == 0.99
    assert cautious(0.995, 0.99, benign=120, rate=0.001) == 0.995
    assert cautious(0.51, 0.99, benign=1000, rate=0.001) == 0.51


def test_a_few_texts_of_a_label_set_no_temperature() -> None:
    """Told apart without an error they drive it to its bound; the one before stays, for both."""
    benign, hostile = sample(200, centre=-9, label=0), sample(99, centre=9, label=1)
    kept = calibrate([*benign, *hostile], {"prompt": 1.0, "data": 1.4})["data"]
    assert (kept.temperature, kept.temperature_fitted, kept.at_bound) == (1.4, False, False)
    assert kept.flag_at is not None
    assert calibrate([*benign, *hostile])["data"].temperature == 1.0
    few = calibrate([*benign[:99], *hostile, *hostile])["data"]
    assert (few.temperature, few.flag_at) == (1.0, None)


def test_a_fit_that_ends_on_a_bound_says_so() -> None:
    """The texts are too easy, or cannot be told apart."""
    benign, hostile = sample(200, centre=-9, label=0), sample(200, centre=9, label=1)
    easy = calibrate([*benign, *hostile])["data"]
    assert easy.at_bound
    assert easy.to_dict()["temperature_at_bound"]
    swapped = [Scored("data", 1 - text.label, text.margin) for text in (*benign, *hostile)]
    assert calibrate(swapped)["data"].at_bound
    near = calibrate([*sample(400, centre=-2, label=0), *sample(400, centre=2, label=1)])["data"]
    assert near.temperature_fitted
    assert not near.at_bound
