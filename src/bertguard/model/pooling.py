"""From one vector per token to one vector per text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bertguard.errors import ConfigurationError

Pooling = Callable[[Tensor, Tensor], Tensor]


def cls_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """The hidden state at position 0, where BERT has its `[CLS]` token.

    Args:
        hidden: last hidden state, `(batch, tokens, hidden)`.
        mask: 1 for real tokens, 0 for padding, `(batch, tokens)`; not looked at.

    Returns:
        `(batch, hidden)`.

    Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3.
    """
    return hidden[:, 0]


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """The average over real tokens: sum(hidden * mask) / max(sum(mask), 1e-9).

    Args:
        hidden: last hidden state, `(batch, tokens, hidden)`.
        mask: 1 for real tokens, 0 for padding, `(batch, tokens)`.

    Returns:
        `(batch, hidden)`.

    Source: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084, section 3.
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def max_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """The largest value of each feature over real tokens.

    Args:
        hidden: last hidden state, `(batch, tokens, hidden)`.
        mask: 1 for real tokens, 0 for padding, `(batch, tokens)`.

    Returns:
        `(batch, hidden)`.

    Source: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084, section 3.
    """
    lowest = torch.finfo(hidden.dtype).min
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, lowest).amax(dim=1)


POOLINGS: Mapping[str, Pooling] = {"cls": cls_pool, "mean": mean_pool, "max": max_pool}


def pooling(name: str) -> Pooling:
    """A pooling by its name: `cls`, `mean` or `max`.

    Raises:
        ConfigurationError: there is no pooling of that name.
    """
    if name not in POOLINGS:
        raise ConfigurationError(f"pooling={name!r} is unknown; use one of {', '.join(POOLINGS)}")
    return POOLINGS[name]
