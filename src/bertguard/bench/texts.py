"""What is asked: texts of about so many tokens, and the mix of lengths that people send."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence

# Everyday words, most of them one token each.
_WORDS = (
    "the river runs past an old mill where children play in summer and farmers sell bread fruit "
    "honey at the market every week people come from the town to buy talk and drink tea under a "
    "large green tree near our small house on the hill"
).split()

# Quantiles of the lengths in tokens, prompts and data together, of the 15,950 texts of the public
# evaluation sets in the README (NotInject, WildGuard, PromptShield, BIPIA, AgentDojo, …), counted
# with the tokenizer of the bundled checkpoint, its two marks included.
QUANTILES: tuple[tuple[float, int], ...] = (
    (0.00, 3), (0.05, 9), (0.10, 11), (0.15, 12), (0.20, 14), (0.25, 16), (0.30, 19), (0.35, 23),
    (0.40, 29), (0.45, 39), (0.50, 52), (0.55, 68), (0.60, 83), (0.65, 98), (0.70, 114),
    (0.75, 131), (0.80, 155), (0.85, 191), (0.90, 311), (0.95, 469), (0.98, 577), (0.99, 778),
    (0.995, 865), (1.00, 6407),
)  # fmt: skip


def text_of(tokens: int, seed: int = 0) -> str:
    """A text of about so many tokens, marks included; no two seeds alike."""
    rng = random.Random(seed)  # noqa: S311  # words, not secrets
    return " ".join(rng.choice(_WORDS) for _ in range(max(1, tokens - 2)))


def mixed_texts(count: int, seed: int = 0) -> list[str]:
    """Texts whose lengths are spread as in `QUANTILES`, in random order.

    The lengths are the middles of `count` equal shares, not drawn: a few long texts more or less
    would be another workload.
    """
    lengths = [length_at((place + 0.5) / count) for place in range(count)]
    random.Random(seed).shuffle(lengths)  # noqa: S311  # an order, not a secret
    return [text_of(length, seed * count + place) for place, length in enumerate(lengths)]


def length_at(share: float) -> int:
    """The length in tokens that this share of the texts stays under."""
    upper = min(max(bisect.bisect_left(QUANTILES, (share, 0)), 1), len(QUANTILES) - 1)
    (low, short), (high, long) = QUANTILES[upper - 1], QUANTILES[upper]
    return round(short + (long - short) * (share - low) / (high - low))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not pass; the nearest one, never between two."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
