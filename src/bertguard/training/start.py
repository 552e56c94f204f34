"""Where a training run starts (a guard to go on from, a bare encoder), and when it may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel

from bertguard.errors import CheckpointError, ConfigurationError, DataError
from bertguard.model.checkpoint import (
    CARD,
    CONFIG,
    MANIFEST,
    TOKENIZER,
    WEIGHTS,
    Manifest,
    read_manifest,
)
from bertguard.model.classifier import LABELS, InjectionClassifier, load_encoder
from bertguard.model.loading import BUNDLED_NAME, find_checkpoint
from bertguard.model.tokenization import WindowTokenizer, harden
from bertguard.model.torch_scorer import load_classifier
from bertguard.training import resume
from bertguard.training.calibration import PRIOR
from bertguard.training.examples import Example
from bertguard.training.history import told_once, words_added
from bertguard.training.settings import Settings

_WINDOW_TOKENS = 256
# A quarter: a payload of up to 64 tokens lies whole in one window of 256 or the next.
_OVERLAP_SHARE = 4
# What a run writes; README.md and config.json are names that other things have as well.
_WRITTEN = (WEIGHTS, CONFIG, TOKENIZER, CARD)

# The projection to queries as BERT and its kin, DeBERTa, DistilBERT, ModernBERT and MPNet name it.
_QUERY = {"query", "query_proj", "q_lin", "q_proj", "Wqkv", "q"}


@dataclass(frozen=True, slots=True)
class Start:
    """A classifier to train, its tokenizer, and the manifest it will be saved under."""

    classifier: InjectionClassifier
    tokenizer: WindowTokenizer
    manifest: Manifest

    @property
    def first_new(self) -> int:
        """The id of the first word that `guard extend` added to what this goes on from."""
        # By the highest id: a vocabulary from which words were taken out again has gaps.
        ids = self.tokenizer.tokenizer.get_vocab().values()
        return max(ids) + 1 - words_added(self.manifest.training)


def starting_point(settings: Settings) -> Start:
    """Load `settings.base`: the bundled guard, a checkpoint directory, or an encoder.

    Raises:
        CheckpointError: there is nothing to load.
        ConfigurationError: the settings do not fit what was loaded.
    """
    if settings.base == BUNDLED_NAME or (Path(settings.base) / MANIFEST).is_file():
        start = _from_checkpoint(find_checkpoint(settings.base), settings)
    else:
        start = _from_encoder(settings)
    if settings.learn == "new-words" and not words_added(start.manifest.training):
        raise ConfigurationError(
            f"{settings.base}: no words were added to it; run guard extend first, or learn all"
        )
    _drop_out(start.classifier.encoder, settings)
    return start


def _drop_out(encoder: nn.Module, settings: Settings) -> None:
    """Set the dropouts that were asked for; the others stay the encoder's own."""
    of_attention = settings.attention_dropout
    if of_attention is None:
        of_attention = settings.encoder_dropout
    for parent in encoder.modules():
        children = dict(parent.named_children())
        # That of the probabilities stands beside the projections, in every architecture here.
        projects = not _QUERY.isdisjoint(children)
        for child in children.values():
            share = of_attention if projects else settings.encoder_dropout
            if isinstance(child, nn.Dropout) and share is not None:
                child.p = share


def must_teach(
    training: Sequence[Example], validation: Sequence[Example], settings: Settings
) -> None:
    """Raises DataError where rows are missing, or know one label with nothing made up beside."""
    for rows, purpose in ((training, "learn from"), (validation, "validate on")):
        if not rows:
            raise DataError(f"no rows to {purpose}; a run needs some of both")
    labels = {row.label for row in training}
    made_up = settings.augmentation.composed or settings.augmentation.replay
    if len(labels) == 1 and not made_up:
        only = "injection" if labels == {1} else "benign"
        raise DataError(
            f"every training row is labelled {only}: nothing can be told apart; add rows of the "
            "other label, or let the corpus of the package give them (--replay 0.3)"
        )


def without_tokens(rows: Sequence[Example], tokenizer: WindowTokenizer) -> int:
    """How many rows the tokenizer makes nothing of."""
    return sum(not tokenizer.holds_tokens(row.text, row.channel) for row in rows)


def must_hold_tokens(
    training: Sequence[Example], validation: Sequence[Example], tokenizer: WindowTokenizer
) -> None:
    """Raises DataError where all that is learnt from or validated on is nothing to the model."""
    for rows, side in ((training, "training"), (validation, "validation")):
        if without_tokens(rows, tokenizer) == len(rows):
            raise DataError(
                f"the {len(rows):,} {side} rows hold no token of the encoder's; a run needs texts "
                "on both sides"
            )


def must_be_free(out: Path, settings: Settings) -> None:
    """Raises ConfigurationError where something that is no checkpoint would be written over."""
    base = Path(settings.base)
    if out.exists() and base.exists() and out.resolve() == base.resolve():
        raise ConfigurationError(
            f"{out}: is the base as well, which an interruption would destroy; name another --out"
        )
    taken = [name for name in _WRITTEN if (out / name).exists()]
    if taken and not (out / MANIFEST).exists() and not resume.begun(out):
        raise ConfigurationError(
            f"{out}: holds {', '.join(taken)} and is no checkpoint; name another --out"
        )


def _from_checkpoint(directory: Path, settings: Settings) -> Start:
    old = read_manifest(directory)
    if not settings.channel and old.channel == "token_type_ids":
        raise ConfigurationError(
            f"{directory} was trained with the channel; leave --no-channel out, or start from an "
            "encoder"
        )
    manifest = _manifest(
        settings,
        # The encoder at the bottom, however many stages lie between; `training` holds them all.
        base=f"{old.name} ({old.base.rpartition(' (')[2].rstrip(')')})",
        # Another one is learnt in the first few hundred updates: the encoder is the same.
        pooling=settings.pooling or old.pooling,
        labels=old.labels,
        channel=old.channel == "token_type_ids",
        marks=(old.cls_id, old.sep_id, old.pad_id),
        window=old.window_tokens,
        temperature=dict(old.temperature),
        prior=old.prior,
        thresholds=dict(old.thresholds),
    )
    # Where the weights come from goes on with them.
    before = told_once({"name": old.name, **old.training})
    manifest = replace(manifest, training={"goes_on_from": before})
    classifier = load_classifier(directory, replace(old, pooling=manifest.pooling))
    _must_fit(classifier.encoder, manifest, settings.base)
    return Start(classifier, _windows(directory / TOKENIZER, manifest), manifest)


def _from_encoder(settings: Settings) -> Start:
    encoder = load_encoder(settings.base)
    try:
        pretrained = AutoTokenizer.from_pretrained(settings.base, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{settings.base}: no tokenizer could be loaded from there ({type(error).__name__}); "
            "expected tokenizer.json beside the encoder"
        ) from error
    backend = getattr(pretrained, "backend_tokenizer", None)
    marks = (pretrained.cls_token_id, pretrained.sep_token_id, pretrained.pad_token_id)
    if backend is None or None in marks:
        raise CheckpointError(
            f"{settings.base}: its tokenizer has no tokenizer.json form, or lacks a classification,"
            " separator or padding token; use an encoder of the BERT family"
        )
    classifier = InjectionClassifier(
        encoder,
        pooling_name=settings.pooling or "mean",
        dropout=settings.dropout,
        seed=settings.seed,
    )
    classifier.reads_channel &= settings.channel
    manifest = _manifest(
        settings,
        base=Path(settings.base).name if Path(settings.base).exists() else settings.base,
        pooling=settings.pooling or "mean",
        labels=LABELS,
        channel=classifier.reads_channel,
        marks=marks,
        window=_WINDOW_TOKENS,
        temperature={"prompt": 1.0, "data": 1.0},
        prior=PRIOR,
        thresholds={"prompt": (0.5, 0.9), "data": (0.5, 0.9)},
    )
    _must_fit(encoder, manifest, settings.base)
    tokenizer = harden(Tokenizer.from_str(backend.to_str()))
    words = cast("nn.Embedding", encoder.get_input_embeddings())
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= words.num_embeddings:
        raise CheckpointError(
            f"{settings.base}: its tokenizer has the id {highest}, but the encoder knows only "
            f"{words.num_embeddings}; they belong to different models"
        )
    return Start(classifier, wrapped(tokenizer, manifest), manifest)


def _must_fit(encoder: PreTrainedModel, manifest: Manifest, base: str) -> None:
    """Raises ConfigurationError where a window holds more tokens than the encoder has places."""
    room = getattr(encoder.config, "max_position_embeddings", None) or 512
    for name, module in encoder.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(module, nn.Embedding):
            # RoBERTa, CamemBERT and MPNet count from their padding id on: those hold no token.
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            room = module.num_embeddings - unused
    if manifest.window_tokens > room:
        raise ConfigurationError(
            f"window_tokens={manifest.window_tokens}: {base} reads at most {room} tokens"
        )


def _manifest(
    settings: Settings,
    *,
    base: str,
    pooling: str,
    labels: tuple[str, ...],
    channel: bool,
    marks: tuple[int, int, int],
    window: int,
    temperature: dict[str, float],
    prior: float,
    thresholds: dict[str, tuple[float, float]],
) -> Manifest:
    window = settings.window_tokens or window
    overlap = settings.overlap_tokens
    return Manifest(
        name=settings.name,
        base=base,
        pooling=pooling,
        dropout=settings.dropout,
        labels=tuple(labels),
        window_tokens=window,
        overlap_tokens=window // _OVERLAP_SHARE if overlap is None else overlap,
        channel="token_type_ids" if channel else "ignored",
        cls_id=marks[0],
        sep_id=marks[1],
        pad_id=marks[2],
        temperature=temperature,
        prior=prior,
        thresholds=thresholds,
    )


def _windows(file: Path, manifest: Manifest) -> WindowTokenizer:
    return wrapped(Tokenizer.from_file(str(file)), manifest)


def wrapped(tokenizer: Tokenizer, manifest: Manifest) -> WindowTokenizer:
    """The tokenizer with the windows that a manifest names."""
    return WindowTokenizer(
        tokenizer,
        cls_id=manifest.cls_id,
        sep_id=manifest.sep_id,
        window_tokens=manifest.window_tokens,
        overlap_tokens=manifest.overlap_tokens,
    )
