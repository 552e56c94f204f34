"""Everything that shapes a training run, in one place and with defaults that were studied."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bertguard.errors import ConfigurationError
from bertguard.training.augment import Augmentation


@dataclass(frozen=True, slots=True)
class Settings:
    """Hyper-parameters of `train`; they stand in the manifest of what it writes.

    Args:
        name: of the checkpoint, part of the model id.
        base: a bertguard checkpoint to go on from, or an encoder (directory or hub id).
        pooling: `cls`, `mean` or `max`; None takes the base checkpoint's, or `mean`.
        window_tokens: longest input in tokens; None takes the base checkpoint's, or 256.
        overlap_tokens: ids that neighbouring windows share; None is a quarter of the window.
        epochs: passes over the data.
        batch_tokens: padded tokens of one step on one process.
        learning_rate: peak of AdamW's rate (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101).
        warmup: share of the steps in which the rate rises from 0.
        weight_decay: of matrices; biases and norms have none.
        clip: largest norm of the gradient.
        dropout: before the head.
        encoder_dropout: in the layers of the encoder; None keeps the encoder's own. Without it a
            CPU trains 1.3 times as fast, and one pass over much data has little to overfit to.
        attention_dropout: of attention's probabilities; None is as `encoder_dropout`. There are
            many more of them than of features, so that 0 takes most of dropout's cost away.
        label_smoothing: share of the target spread over all classes.
        layer_decay: each layer learns at this share of the rate of the one above it.
        adversarial: length of a shift of the word embeddings along their gradient, under which
            every batch is learnt a second time; 0 is none. The loss that is shown is that of the
            second time. See `objective.passes`.
        r_drop: weight of the agreement of two predictions under different dropout; 0 is none. A
            step then holds every text twice. See `objective.objective`.
        channel: tell the encoder which channel a text is from, where it has segments.
        learn: `all`, or `new-words`: the rows of words that `guard extend` added, everything else
            standing still. What is written without them scores as before.
        max_windows: windows of one text in an epoch.
        augmentation: composed injections and odd writings.
        dtype: of autocast, `auto` (bf16 where the device has it), `fp32` or `bf16`.
        seed: of everything that is drawn.
        checks: validations per epoch.
        keep: the `best` weights by validation loss, or the `last`. The loss on left-out sources
            rises with confidence while their ranking still improves.
    """

    name: str = "custom-guard"
    base: str = "bundled"
    pooling: str | None = None
    window_tokens: int | None = None
    overlap_tokens: int | None = None
    epochs: int = 1
    batch_tokens: int = 4096
    learning_rate: float = 6e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    dropout: float = 0.1
    encoder_dropout: float | None = None
    attention_dropout: float | None = None
    label_smoothing: float = 0.0
    layer_decay: float = 1.0
    adversarial: float = 0.0
    r_drop: float = 0.0
    channel: bool = True
    learn: str = "all"
    max_windows: int = 2
    augmentation: Augmentation = field(default_factory=Augmentation)
    dtype: str = "auto"
    seed: int = 0
    checks: int = 1
    keep: str = "best"

    def __post_init__(self) -> None:
        positive = {
            "epochs": self.epochs,
            "batch_tokens": self.batch_tokens,
            "learning_rate": self.learning_rate,
            "clip": self.clip,
            "max_windows": self.max_windows,
            "checks": self.checks,
        }
        for name, value in positive.items():
            if not 0 < value < math.inf:
                raise ConfigurationError(f"{name}={value} must be a number above 0")
        if not 0 <= self.seed < 2**32:
            raise ConfigurationError(f"seed={self.seed} must be at least 0 and below 2^32")
        weights = {
            "weight_decay": self.weight_decay,
            "adversarial": self.adversarial,
            "r_drop": self.r_drop,
        }
        for name, value in weights.items():
            if not 0 <= value < math.inf:
                raise ConfigurationError(f"{name}={value} must be a number of at least 0")
        if self.r_drop and not self.dropout and self.encoder_dropout == 0:
            raise ConfigurationError(
                f"r_drop={self.r_drop} compares two dropouts, and there is none; set "
                "encoder_dropout, to 0.1 say"
            )
        if not 0 < self.layer_decay <= 1:
            raise ConfigurationError(
                f"layer_decay={self.layer_decay} must be above 0 and at most 1"
            )
        shares = {"warmup": self.warmup, "dropout": self.dropout, "smoothing": self.label_smoothing}
        for name in ("encoder_dropout", "attention_dropout"):
            if (share := getattr(self, name)) is not None:
                shares[name] = share
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise ConfigurationError(f"{name}={value} must be at least 0 and below 1")
        if self.dtype not in ("auto", "fp32", "bf16"):
            raise ConfigurationError(f'dtype={self.dtype!r}: use "auto", "fp32" or "bf16"')
        if self.learn not in ("all", "new-words"):
            raise ConfigurationError(f'learn={self.learn!r}: use "all" or "new-words"')
        if self.keep not in ("best", "last"):
            raise ConfigurationError(f'keep={self.keep!r}: use "best" or "last"')
