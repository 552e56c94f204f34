"""Any device and dtype: the torch backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from bertguard.errors import CheckpointError, DeviceError
from bertguard.model.checkpoint import CONFIG, WEIGHTS, Manifest, verified
from bertguard.model.classifier import InjectionClassifier, empty_encoder
from bertguard.model.tokenization import WindowTokenizer
from bertguard.scoring import Window

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchScorer:
    """Scores windows with torch.

    Args:
        classifier: encoder and head.
        tokenizer: cuts texts into windows.
        manifest: labels, temperature, prior, thresholds, padding id.
        device: a resolved device.
        dtype: of weights and activations; the softmax is always fp32.
    """

    # torch uses every core for one call already, and a GPU is one queue.
    parallelism = 1

    def __init__(
        self,
        classifier: InjectionClassifier,
        *,
        tokenizer: WindowTokenizer,
        manifest: Manifest,
        device: torch.device,
        dtype: str = "fp32",
    ) -> None:
        self.device = device
        self._classifier = classifier.to(device=device, dtype=DTYPES[dtype]).eval()
        self._tokenizer = tokenizer
        self._manifest = manifest
        self._temperature = torch.tensor(
            [manifest.temperature["prompt"], manifest.temperature["data"]], device=device
        )
        self._log_prior_odds = manifest.log_prior_odds
        self._injection = manifest.injection_index
        self.model_id = f"{manifest.name}/torch-{device.type}-{dtype}"
        # A GPU needs large batches to be busy; a CPU only pays their padding.
        self.max_batch_tokens = 2048 if device.type == "cpu" else 32768

    @classmethod
    def load(
        cls, directory: Path, manifest: Manifest, *, device: str = "auto", dtype: str = "fp32"
    ) -> TorchScorer:
        """Load the weights of a checkpoint directory onto a device.

        Raises:
            CheckpointError: a file is missing or damaged, or the weights do not fit the config.
            DeviceError: the device is not there.
        """
        where = resolve_device(device)
        tokenizer = WindowTokenizer.from_checkpoint(directory, manifest)
        classifier = load_classifier(directory, manifest)
        return cls(classifier, tokenizer=tokenizer, manifest=manifest, device=where, dtype=dtype)

    @property
    def thresholds(self) -> Mapping[str, tuple[float, float]]:
        """Channel name -> (flag_at, block_at)."""
        return self._manifest.thresholds

    def windows(self, text: str, channel: str) -> Iterator[Window]:
        """Overlapping windows that cover every token of `text`."""
        return self._tokenizer.windows(text, channel)

    @torch.inference_mode()
    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        """P(injection) of each window; they go through the model as one padded batch."""
        batch = collate(windows, pad_id=self._manifest.pad_id)
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        logits = self._classifier(**batch).float()
        temperature = self._temperature[batch["token_type_ids"][:, 0]].unsqueeze(-1)
        logits = logits / temperature
        logits[:, self._injection] += self._log_prior_odds
        return torch.softmax(logits, dim=-1)[:, self._injection].tolist()


def collate(windows: Sequence[Window], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Windows as one padded batch.

    Returns:
        `input_ids`, `attention_mask` and `token_type_ids`, each int64 `(batch, tokens)`. Padding
        carries the window's channel too, so that column 0 tells it.
    """
    # numpy: a tensor operation for each row takes twenty times as long, while the device waits.
    lengths = np.fromiter((len(window.ids) for window in windows), np.int64, len(windows))
    mask = np.arange(lengths.max()) < lengths[:, np.newaxis]
    ids = np.full(mask.shape, pad_id, np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(w.ids for w in windows), np.int64, lengths.sum())
    channels = np.fromiter((window.channel for window in windows), np.int64, len(windows))
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "token_type_ids": torch.from_numpy(np.repeat(channels[:, np.newaxis], mask.shape[1], 1)),
    }


def load_classifier(directory: Path, manifest: Manifest) -> InjectionClassifier:
    """The classifier of a checkpoint directory, in fp32, on the CPU.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights do not fit the config.
    """
    weights_file = verified(directory, WEIGHTS, manifest)
    config = AutoConfig.from_pretrained(verified(directory, CONFIG, manifest).parent)
    classifier = InjectionClassifier(
        empty_encoder(config),
        pooling_name=manifest.pooling,
        labels=manifest.labels,
        dropout=manifest.dropout,
    )
    # An encoder with segments may have been trained without them.
    classifier.reads_channel &= manifest.channel == "token_type_ids"
    try:
        weights = {name: tensor.float() for name, tensor in load_file(weights_file).items()}
        classifier.load_state_dict(weights, strict=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{weights_file}: the weights do not fit {CONFIG} ({type(error).__name__}); the two "
            "files are from different checkpoints"
        ) from error
    return classifier.eval()


def resolve_device(name: str) -> torch.device:
    """A device by name, after looking whether it is there.

    `auto` is `cuda` where there is one, else `mps`, else `cpu`. Any other name is taken at its
    word.

    Raises:
        DeviceError: the name is unknown or the device is not there; never replaced by another.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            f"device={name!r} is unknown; use auto, cpu, cuda, cuda:<number> or mps"
        ) from error
    there = {
        "cpu": device.index in (None, 0),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise DeviceError(
            f"device={name!r} is not there: this torch ({torch.__version__}) sees "
            f'{torch.cuda.device_count()} CUDA devices; use device="cpu" or "auto"'
        )
    return device
