"""What a step minimises, beside plain cross-entropy where the settings ask for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from bertguard.errors import ConfigurationError
from bertguard.model.classifier import InjectionClassifier
from bertguard.training.settings import Settings

_LAYER = re.compile(r"\.(?:layer|layers|h|block)\.(\d+)\.")


def doubled(inputs: dict[str, Tensor], labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Every text twice, `(2 x batch, ...)`: dropout differs, what is predicted should not."""
    twice = {name: torch.cat([value, value]) for name, value in inputs.items()}
    return twice, torch.cat([labels, labels])


def objective(logits: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Cross-entropy of `logits` `(batch, labels)`; with `r_drop` plus the disagreement of halves.

    Source of R-Drop: Liang et al. 2021, https://arxiv.org/abs/2106.14448.
    """
    loss = cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
    if not settings.r_drop:
        return loss
    one, other = log_softmax(logits, dim=1).chunk(2)
    apart = kl_div(one, other, reduction="batchmean", log_target=True) + kl_div(
        other, one, reduction="batchmean", log_target=True
    )
    return loss + settings.r_drop * apart / 2


def passes(classifier: InjectionClassifier, adversarial: float) -> Iterator[None]:
    """Once as the weights are; with `adversarial` again with the word embeddings made worse.

    The second pass sees the embeddings shifted by a vector of that length along their gradient,
    the direction in which the loss rises fastest; both gradients count for the update.

    Source: Miyato et al. 2017, https://arxiv.org/abs/1605.07725.
    """
    yield
    if not adversarial:
        return
    table = classifier.encoder.get_input_embeddings()
    words = cast("nn.Parameter", table.weight)  # it answers a module without types
    if words.grad is None:
        return
    before = words.detach().clone()
    # Over the texts of the batch as one vector: lengths of single texts would need a copy of each.
    shift = words.grad * (adversarial / words.grad.norm().clamp_min(1e-12))
    try:
        with torch.no_grad():
            words.add_(shift)
        yield
    finally:
        # A copy, since adding and subtracting again is off by a rounding.
        with torch.no_grad():
            words.copy_(before)


def parameter_groups(classifier: nn.Module, settings: Settings) -> list[dict[str, object]]:
    """Matrices decay, biases and the gains of norms do not; lower layers may learn more slowly.

    Each group has a `scale`, its share of the rate: `layer_decay` to the power of the number of
    layers above it (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146).
    """
    named = [(name, one) for name, one in classifier.named_parameters() if one.requires_grad]
    layers = max((_layer(name) or 0 for name, _ in named), default=0)
    if settings.layer_decay < 1 and not layers:
        raise ConfigurationError(
            f"layer_decay={settings.layer_decay}: this encoder has no numbered layers"
        )
    # Old words have no gradient then, and would only fade.
    rows_alone = settings.learn == "new-words"
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        layer = _layer(name)
        # A last norm and the head lie above every layer.
        above = 0 if layer is None else layers - layer
        groups.setdefault((settings.layer_decay**above, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if matrices and not rows_alone else 0.0,
            "scale": scale,
        }
        for (scale, matrices), parameters in groups.items()
    ]


def _layer(name: str) -> int | None:
    """1 for a parameter of the lowest layer, 0 for one of the embeddings, None for others."""
    if found := _LAYER.search(name):
        return int(found[1]) + 1
    return 0 if "embeddings" in name else None
