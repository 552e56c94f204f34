"""InjectionClassifier: encoder -> pooling -> dropout -> linear head -> logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from bertguard.errors import CheckpointError
from bertguard.model.pooling import pooling

LABELS = ("benign", "injection")


class InjectionClassifier(nn.Module):
    """A BERT-family encoder with a linear head over its pooled last hidden state.

    Args:
        encoder: anything `AutoModel` gives: `last_hidden_state` is `(batch, tokens, hidden)`.
        pooling_name: `cls`, `mean` or `max`.
        labels: names of the classes, in the order of the logits.
        dropout: probability of dropping a feature before the head, while training.
        seed: of the head's initial weights, N(0, 0.02); its bias starts at 0.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        *,
        pooling_name: str = "mean",
        labels: Sequence[str] = LABELS,
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pool = pooling(pooling_name)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, len(labels))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            # 0.02 is BERT's initializer_range (https://arxiv.org/abs/1810.04805, appendix A.2).
            self.head.weight.normal_(0.0, 0.02, generator=generator)
            self.head.bias.zero_()
        # Only an encoder with two segment embeddings can be told the channel.
        self.reads_channel = getattr(encoder.config, "type_vocab_size", 0) >= 2

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Logits of one batch of windows.

        Args:
            input_ids: token ids, `(batch, tokens)`.
            attention_mask: 1 for real tokens, 0 for padding, `(batch, tokens)`.
            token_type_ids: the channel, 0 prompt and 1 data, `(batch, tokens)`; left out for
                encoders with a single segment embedding.

        Returns:
            `(batch, labels)`.
        """
        extra = {}
        if self.reads_channel and token_type_ids is not None:
            extra["token_type_ids"] = token_type_ids
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, **extra
        ).last_hidden_state
        return self.head(self.dropout(self.pool(hidden, attention_mask)))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def load_encoder(base: str | Path) -> PreTrainedModel:
    """A pretrained encoder from a local directory or a hub id, without a pooler.

    `google-bert/bert-base-uncased` is the documented reference. Remote code is never run.

    Raises:
        CheckpointError: there is no such encoder, or it cannot be loaded.
    """
    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        if config.is_encoder_decoder or config.model_type in _DECODERS:
            raise CheckpointError(
                f"{base}: {config.model_type} is no encoder; use one of the BERT family"
            )
        # transformers' own pooler (a tanh layer over [CLS]) is not used: leave it out.
        pooler = {"add_pooling_layer": False} if config.model_type in _WITH_POOLER else {}
        encoder = AutoModel.from_pretrained(
            base, trust_remote_code=False, dtype=torch.float32, **pooler
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{base}: no encoder could be loaded from there ({type(error).__name__}); expected a "
            "directory with config.json and model.safetensors, or a hub id and a network"
        ) from error
    return encoder  # type: ignore[no-any-return]  # from_pretrained is untyped


def empty_encoder(config: PretrainedConfig) -> PreTrainedModel:
    """An encoder of that architecture with random weights, to be filled from a checkpoint."""
    pooler = {"add_pooling_layer": False} if config.model_type in _WITH_POOLER else {}
    return AutoModel.from_config(config, trust_remote_code=False, **pooler)  # type: ignore[no-any-return,no-untyped-call]  # it has no types


# Language models that read from left to right and whose configuration does not say so.
_DECODERS = frozenset({"gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "opt", "qwen2", "qwen3"})

# Model types whose AutoModel class takes `add_pooling_layer`.
_WITH_POOLER = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"})
