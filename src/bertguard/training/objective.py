"""What a step minimises, beside plain cross-entropy where the settings ask for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from bertguard.model.classifier import InjectionClassifier
from bertguard.training.settings import Settings

_LAYER = re.compile(r"\.(?:layer|layers|h|block)\.(\d+)\.")


def doubled(batch: dict[str, Tensor], labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Every text twice, `(2 x batch, ...)`: dropout differs, what is predicted should not."""
    return {name: torch.cat([value, value]) for name, value in batch.items()}, torch.cat(
        [labels, labels]
    )


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
    # Over the texts of the batch as one vector: lengths of single texts would need a copy of each.
    shift = words.grad * (adversarial / words.grad.norm().clamp_min(1e-12))
    with torch.no_grad():
        words.add_(shift)
    yield
    with torch.no_grad():
        words.sub_(shift)


def parameter_groups(classifier: nn.Module, settings: Settings) -> list[dict[str, object]]:
    """Matrices decay, biases and the gains of norms do not; lower layers may learn more slowly.

    Each group has a `scale`, its share of the rate: `layer_decay` to the power of the number of
    layers above it (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146).
    """
    named = [(name, one) for name, one in classifier.named_parameters() if one.requires_grad]
    layers = max((_depth(name) for name, _ in named), default=0)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        above = 0 if not name.startswith("encoder.") else layers - _depth(name)
        groups.setdefault((settings.layer_decay**above, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if matrices else 0.0,
            "scale": scale,
        }
        for (scale, matrices), parameters in groups.items()
    ]


def _depth(name: str) -> int:
    """0 for embeddings, 1 for the lowest layer; what is no layer is as deep as the embeddings."""
    found = _LAYER.search(name)
    return int(found[1]) + 1 if found else 0
