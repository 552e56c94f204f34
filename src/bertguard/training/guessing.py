"""Masked-language modelling of new words: they are hidden, guessed, and their rows learnt by it.

Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bertguard.errors import ConfigurationError
from bertguard.model.classifier import InjectionClassifier
from bertguard.model.torch_scorer import collate
from bertguard.scoring import Window
from bertguard.training.dataset import token_budget_batches
from bertguard.training.loop import in_bf16, schedule, use_plain_attention
from bertguard.training.rows import only_rows
from bertguard.training.settings import Settings
from bertguard.training.validation import autocast

# Of the tokens, and of those the share that is seen as the mask, as another word, as itself.
_HIDDEN_SHARE = 0.15
_AS_MASK, _AS_ANOTHER = 0.8, 0.1
_WARMUP = 0.06

Report = Callable[[int, int, float], None]
"""Called with the number of the batch, how many there are, and its loss."""


class _Guess(nn.Module):
    """BERT's head for hidden words: a layer, then the table of words itself, and a bias."""

    def __init__(self, hidden: int, words: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """Logits `(positions, words)` of hidden states `(positions, hidden)`."""
        return functional.linear(self.layer(hidden), table, self.bias)


def learn_rows(
    classifier: InjectionClassifier,
    windows: Sequence[Window],
    *,
    settings: Settings,
    pad_id: int,
    mask_id: int,
    first_new: int,
    report: Report | None,
) -> float:
    """Learn the rows from `first_new` on; the mean loss of the last epoch."""
    encoder = classifier.encoder
    if next(encoder.parameters()).device.type == "cpu":
        use_plain_attention(encoder)
    only_rows(classifier, first_new)
    table = cast("nn.Parameter", encoder.get_input_embeddings().weight)
    guess = _Guess(table.shape[1], len(table)).to(table.device)
    optimizer = torch.optim.AdamW(
        [table, *guess.parameters()],
        lr=settings.learning_rate,
        weight_decay=0.0,
        fused=table.device.type in ("cpu", "cuda"),
    )
    bf16 = in_bf16(settings, table.device)
    lengths = [len(window.ids) for window in windows]
    epochs = [
        token_budget_batches(lengths, max_tokens=settings.batch_tokens, seed=settings.seed + epoch)
        for epoch in range(settings.epochs)
    ]
    total = sum(map(len, epochs))
    done = 0
    losses: list[float] = []
    for batches in epochs:
        losses = []
        for inputs, places, hidden_ids in _hidden(batches, windows, pad_id, mask_id, table):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(done / total, _WARMUP)
            with autocast(table.device, bf16=bf16):
                states = encoder(**inputs).last_hidden_state[places]
                logits = guess(states, table)
            loss = functional.cross_entropy(logits.float(), hidden_ids)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise ConfigurationError(
                    f"the loss is not finite at update {done + 1}: use a learning rate below "
                    f"{settings.learning_rate:g}, or dtype fp32"
                )
            done += 1
            if report is not None:
                report(done, total, losses[-1])
    # No batch of the last epoch may have drawn a word to hide: texts of a word or two.
    return sum(losses) / max(1, len(losses))


def _hidden(
    batches: Sequence[Sequence[int]],
    windows: Sequence[Window],
    pad_id: int,
    mask_id: int,
    table: Tensor,
) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """Inputs with words hidden, where they are, `(batch, tokens)`, and which, `(positions,)`."""
    for batch in batches:
        laid_out = collate([windows[place] for place in batch], pad_id=pad_id)
        # Without the channel, which not every encoder has: words are guessed as in pretraining.
        inputs = {name: laid_out[name].to(table.device) for name in ("input_ids", "attention_mask")}
        ids = inputs["input_ids"]
        words = inputs["attention_mask"].bool()
        # The marks at both ends are no words.
        words = words & words.roll(1, 1) & words.roll(-1, 1)
        words[:, 0] = words[:, -1] = False
        drawn = torch.rand(ids.shape, device=ids.device)
        places = words & (drawn < _HIDDEN_SHARE)
        if not places.any():
            continue
        seen = ids.clone()
        seen[words & (drawn < _HIDDEN_SHARE * (_AS_MASK + _AS_ANOTHER))] = mask_id
        another = words & (drawn < _HIDDEN_SHARE * _AS_ANOTHER)
        seen[another] = torch.randint(len(table), (int(another.sum()),), device=ids.device)
        yield {**inputs, "input_ids": seen}, places, ids[places]
