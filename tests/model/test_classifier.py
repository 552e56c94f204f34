"""The classifier: head, padding, channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, DebertaV2Config, ModernBertConfig, XLMRobertaConfig
from transformers import PretrainedConfig as Config

from bertguard.errors import CheckpointError
from bertguard.model.classifier import InjectionClassifier, load_encoder
from tiny import tiny_encoder


def test_the_head_starts_small_and_seeded(encoder: Path) -> None:
    """Weights are N(0, 0.02) under the seed, the bias is 0."""
    one, same, other = (
        InjectionClassifier(load_encoder(encoder), seed=seed).head for seed in (1, 1, 2)
    )
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert one.bias.abs().sum() == 0
    assert 0.01 < one.weight.std() < 0.03


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(2, 20),
    padding=st.integers(1, 20),
    pool=st.sampled_from(["cls", "mean", "max"]),
)
def test_padding_does_not_change_a_score(
    encoder: Path, length: int, padding: int, pool: str
) -> None:
    """Law: a text scores the same alone and padded to any length."""
    model = InjectionClassifier(load_encoder(encoder), pooling_name=pool).eval()
    ids = torch.randint(5, 60, (1, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    padded = torch.nn.functional.pad(ids, (0, padding))
    with torch.no_grad():
        alone = model(ids, mask, torch.zeros_like(ids))
        wide = model(padded, torch.nn.functional.pad(mask, (0, padding)), torch.zeros_like(padded))
    torch.testing.assert_close(wide, alone, atol=1e-5, rtol=1e-4)


def test_the_channel_is_read_where_the_encoder_has_two_segments(encoder: Path) -> None:
    """The same ids as prompt and as data give different logits."""
    model = InjectionClassifier(load_encoder(encoder)).eval()
    ids = torch.tensor([[2, 40, 41, 3]])
    prompt, data = (model(ids, torch.ones_like(ids), torch.full_like(ids, c)) for c in (0, 1))
    assert model.reads_channel
    assert not torch.allclose(prompt, data)


def test_an_encoder_with_one_segment_ignores_the_channel(tmp_path: Path) -> None:
    """No index error, no difference, and the classifier says so."""
    model = InjectionClassifier(load_encoder(tiny_encoder(tmp_path, segments=1))).eval()
    ids = torch.tensor([[2, 40, 41, 3]])
    prompt, data = (model(ids, torch.ones_like(ids), torch.full_like(ids, c)) for c in (0, 1))
    assert not model.reads_channel
    torch.testing.assert_close(prompt, data)


SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    "config",
    [
        XLMRobertaConfig(**SMALL, type_vocab_size=1, pad_token_id=1),
        DebertaV2Config(**SMALL, relative_attention=True, type_vocab_size=0),
        ModernBertConfig(**SMALL, pad_token_id=0, cls_token_id=2, sep_token_id=3),
    ],
    ids=lambda config: config.model_type,
)
def test_other_encoders_of_the_family_load_and_learn(config: Config, tmp_path: Path) -> None:
    """XLM-R, DeBERTa and ModernBERT give logits, and every gradient is finite."""
    AutoModel.from_config(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    model = InjectionClassifier(load_encoder(tmp_path))
    ids = torch.tensor([[2, 40, 41, 3]])
    logits = model(ids, torch.ones_like(ids), torch.ones_like(ids))
    logits.sum().backward()
    assert logits.shape == (1, 2)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_place_without_an_encoder_is_named(tmp_path: Path) -> None:
    """The error names the directory and what belongs there."""
    with pytest.raises(CheckpointError, match=r"no encoder.*config\.json"):
        load_encoder(tmp_path)
