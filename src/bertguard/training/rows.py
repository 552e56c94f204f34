"""The rows of a table of words that `guard extend` added, learnt alone."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from bertguard.model.classifier import InjectionClassifier
from bertguard.scoring import Window


def only_rows(classifier: InjectionClassifier, first: int) -> None:
    """Let gradients reach the rows of the words from id `first` on and nothing else.

    An optimizer without weight decay then leaves all else as it is, bit for bit: AdamW moves no
    value that never had a gradient.
    """
    for parameter in classifier.parameters():
        parameter.requires_grad = False
    table = cast("nn.Parameter", classifier.encoder.get_input_embeddings().weight)
    table.requires_grad = True

    def of_new_words(gradient: Tensor) -> Tensor:
        gradient[:first] = 0
        return gradient

    table.register_hook(of_new_words)  # type: ignore[no-untyped-call]  # torch has no type for it


def new_share(window: Window, first: int) -> float:
    """The share of a window's tokens that are words from id `first` on."""
    return sum(word >= first for word in window.ids) / len(window.ids)
