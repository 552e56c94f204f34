"""Poolings are what the papers say, and padding is never part of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertguard.errors import ConfigurationError
from bertguard.model.pooling import POOLINGS, cls_pool, max_pool, mean_pool, pooling

HIDDEN = torch.tensor([[[1.0, 2.0], [3.0, -4.0], [100.0, 100.0]]])
MASK = torch.tensor([[1, 1, 0]])


def test_cls_is_position_zero() -> None:
    """`cls` takes the first token's vector as it is."""
    assert cls_pool(HIDDEN, MASK).tolist() == [[1.0, 2.0]]


def test_mean_is_over_real_tokens() -> None:
    """`mean` divides the sum of real vectors by their number."""
    assert mean_pool(HIDDEN, MASK).tolist() == [[2.0, -1.0]]


def test_mean_of_nothing_is_zero_and_finite() -> None:
    """A row without any real token gives zeros, not NaN."""
    assert mean_pool(HIDDEN, torch.zeros_like(MASK)).tolist() == [[0.0, 0.0]]


def test_max_is_over_real_tokens() -> None:
    """`max` never sees a padded vector, however large."""
    assert max_pool(HIDDEN, MASK).tolist() == [[3.0, 2.0]]


def test_an_unknown_pooling_is_named() -> None:
    """The error says what was given and what there is."""
    with pytest.raises(ConfigurationError, match=r"'sum'.*cls, mean, max"):
        pooling("sum")


@given(
    name=st.sampled_from(sorted(POOLINGS)),
    real=st.integers(1, 6),
    padding=st.integers(0, 6),
    seed=st.integers(0, 1000),
)
def test_padding_changes_no_pooling(name: str, real: int, padding: int, seed: int) -> None:
    """Law: any number of padded positions with any content leaves the result alone."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, real + padding, 3, generator=generator)
    mask = torch.cat([torch.ones(2, real), torch.zeros(2, padding)], dim=1).long()
    alone = pooling(name)(hidden[:, :real], mask[:, :real])
    torch.testing.assert_close(pooling(name)(hidden, mask), alone)
