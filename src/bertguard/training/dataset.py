"""Examples -> splits by source, a share for each source, and batches bounded by tokens."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

from sklearn.model_selection import StratifiedGroupKFold

from bertguard.errors import ConfigurationError, DataError
from bertguard.training.examples import Example, text_share


def split_examples(
    examples: Sequence[Example],
    *,
    validation_share: float = 0.1,
    validation_sources: Sequence[str] = (),
) -> tuple[list[Example], list[Example]]:
    """(training, validation).

    With `validation_sources` these sources are validation, whole, and nothing else is: the honest
    split, since rows of one source resemble each other. Otherwise a text goes to validation by the
    hash of its normalised form, so that copies stay on one side and a rerun splits alike.

    Raises:
        DataError: a named source is not in the data, or one side would be empty.
    """
    training: list[Example] = []
    validation: list[Example] = []
    missing = set(validation_sources) - {example.source for example in examples}
    if missing:
        raise DataError(
            f"no rows of the validation sources {', '.join(sorted(missing))}; data of your own "
            "needs --validation FILE, a --validation-source that it has, or --fold K/N"
        )
    for example in examples:
        held_out = (
            example.source in validation_sources
            if validation_sources
            else text_share(example.text) < validation_share
        )
        (validation if held_out else training).append(example)
    if not training or not validation:
        raise DataError(
            f"{len(training)} training and {len(validation)} validation rows; both need some: "
            "give more rows, or another validation share"
        )
    return training, validation


def fold_sources(examples: Sequence[Example], *, fold: int, folds: int) -> list[str]:
    """The sources of one of `folds` parts of the data, `fold` from 1 on; no source is in two.

    Labels and channels are spread over the parts as evenly as whole sources can be, so that a
    study may rotate through them (scikit-learn's `StratifiedGroupKFold`). The parts depend on the
    data alone, whatever the seed of the runs.

    Raises:
        ConfigurationError: there is no such part.
        DataError: fewer sources than parts, or fewer rows of every kind.
    """
    if folds < 2 or not 1 <= fold <= folds:
        raise ConfigurationError(f"fold {fold}/{folds}: expected 1/N to N/N, with N of at least 2")
    sources = sorted({row.source for row in examples})
    if len(sources) < folds:
        raise DataError(f"{len(sources)} sources cannot be parted into {folds} folds")
    kinds = [f"{row.channel} {row.label}" for row in examples]
    owners = [row.source for row in examples]
    most = max(Counter(kinds).values())
    if most < folds:
        raise DataError(f"at most {most} rows of one label and channel: too few for {folds} folds")
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # A label or channel with fewer rows than parts is in some of them only.
        warnings.simplefilter("ignore", UserWarning)
        _, held_out = list(parts.split(kinds, kinds, owners))[fold - 1]
    return sorted({owners[place] for place in held_out})


def cap_per_source(
    examples: Sequence[Example], *, most: Mapping[tuple[str, int], int], seed: int
) -> list[Example]:
    """At most `most[channel, label]` rows per source, label and channel, drawn by seed.

    A pair that is not named is kept whole. So no large source drowns the others.
    """
    groups: dict[tuple[str, int, str], list[int]] = {}
    for place, example in enumerate(examples):
        groups.setdefault((example.source, example.label, example.channel), []).append(place)
    kept: list[int] = []
    for key, places in sorted(groups.items()):
        limit = most.get((key[2], key[1]))
        if limit is not None and len(places) > limit:
            places = random.Random(f"{seed}:{key}").sample(places, limit)  # noqa: PLW2901  # fewer
        kept += places
    return [examples[place] for place in sorted(kept)]


def repeat_small_sources(
    examples: Sequence[Example], *, least: Mapping[tuple[str, int], int], most_times: int = 4
) -> list[Example]:
    """The rows of small sources several times over, until `least[channel, label]` or `most_times`.

    A few hundred attacks that people wrote are worth more than as many lines of a large generated
    source; each copy can be written oddly in another way.
    """
    counts = Counter((row.source, row.label, row.channel) for row in examples)
    repeated: list[Example] = []
    for row in examples:
        wanted = least.get((row.channel, row.label), 0)
        times = -(-wanted // counts[row.source, row.label, row.channel])
        repeated += [row] * max(1, min(times, most_times))
    return repeated


def token_budget_batches(lengths: Sequence[int], *, max_tokens: int, seed: int) -> list[list[int]]:
    """Item numbers in batches whose `longest x count` is at most `max_tokens`.

    Items are shuffled, sorted by length within buckets of many batches, cut, and the batches
    shuffled: little padding, and still another order every epoch. An item longer than the budget
    is a batch of its own.
    """
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    bucket = max(1, 64 * max_tokens // (1 + sum(lengths) // max(1, len(lengths))))
    batches: list[list[int]] = []
    for first in range(0, len(order), bucket):
        batch: list[int] = []
        for item in sorted(order[first : first + bucket], key=lambda place: lengths[place]):
            # Sorted: the newest item is the longest.
            if batch and lengths[item] * (len(batch) + 1) > max_tokens:
                batches.append(batch)
                batch = []
            batch.append(item)
        if batch:
            batches.append(batch)
    rng.shuffle(batches)
    return batches
