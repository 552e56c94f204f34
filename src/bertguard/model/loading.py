"""Which checkpoint, which backend, which device: decided once, here."""

from __future__ import annotations

import re
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Protocol

from bertguard.errors import CheckpointError, ConfigurationError, DeviceError, MissingExtraError
from bertguard.model.checkpoint import BUNDLED, ONNX_INT8, read_manifest
from bertguard.scoring import Scorer

BACKENDS = ("onnx", "torch")
DTYPES = ("fp32", "bf16", "fp16")

# The word for the checkpoint of the package; a directory of that name is `./bundled`.
BUNDLED_NAME = "bundled"
# "owner/name" exactly; anything else, such as "./owner/name", is meant as a directory.
# What torch may know; it says itself which of them are there.
_DEVICE = re.compile(r"auto|[a-z]+(:\d+)?")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


class LoadedScorer(Scorer, Protocol):
    """A scorer that also knows what batches suit its backend."""

    @property
    def max_batch_tokens(self) -> int:
        """A good bound on `longest x count` of one call."""
        ...


def load_scorer(
    checkpoint: str | PathLike[str] | None = None,
    *,
    device: str = "auto",
    backend: str | None = None,
    dtype: str = "fp32",
) -> LoadedScorer:
    """Load a checkpoint onto a device; see `Guard.load` for the arguments.

    Raises:
        CheckpointError: the checkpoint is missing, truncated, foreign or newer.
        ConfigurationError: backend, dtype or device is unknown or they do not go together.
        DeviceError: the device is not there.
        MissingExtraError: the backend's packages are not installed.
    """
    if backend is not None and backend not in BACKENDS:
        raise ConfigurationError(f'backend={backend!r} is unknown; use "onnx" or "torch"')
    if dtype not in DTYPES:
        raise ConfigurationError(f"dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    directory = find_checkpoint(checkpoint)
    manifest = read_manifest(directory)
    if backend is None:
        wants_cpu = device in ("auto", "cpu") and dtype == "fp32"
        backend = "onnx" if wants_cpu and ONNX_INT8 in manifest.files else "torch"
    if backend == "onnx":
        if device not in ("auto", "cpu"):
            raise DeviceError(
                f'device={device!r} with backend="onnx": the int8 model runs on the CPU; '
                'use device="cpu", or backend="torch" for another device'
            )
        from bertguard.model.onnx_scorer import OnnxScorer

        return OnnxScorer.load(directory, manifest)
    if not _DEVICE.fullmatch(device):
        raise DeviceError(
            f"device={device!r} is unknown; use auto, cpu, cuda, cuda:<number> or mps"
        )
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtraError(f'backend="torch" (device={device!r}, dtype={dtype!r})', "torch")
    from bertguard.model.torch_scorer import TorchScorer

    return TorchScorer.load(directory, manifest, device=device, dtype=dtype)


def find_checkpoint(checkpoint: str | PathLike[str] | None = None) -> Path:
    """The directory of a checkpoint: the bundled one, a local one, or one from the hub.

    None and the word `bundled` are the one that comes with the package. What is no hub id is taken
    for a directory, there or not.

    Raises:
        CheckpointError: it is in none of those places.
    """
    if checkpoint is None or checkpoint == BUNDLED_NAME:
        return BUNDLED
    path = Path(checkpoint)
    if path.exists() or not isinstance(checkpoint, str) or not _HUB_ID.fullmatch(checkpoint):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(checkpoint, allow_patterns=["*.json", "*.safetensors", "*.onnx"])
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{checkpoint}: neither a directory here nor a checkpoint that the hub gave "
            f"({type(error).__name__}); check the path, or the network"
        ) from error


def own_checkpoint(checkpoint: str) -> Path:
    """The directory of a checkpoint that is about to be changed: always a local one.

    Raises:
        ConfigurationError: it is the bundled one.
    """
    if checkpoint == BUNDLED_NAME:
        raise ConfigurationError(
            "the bundled checkpoint is part of the installed package and not changed in place; "
            f"copy it first (guard calibrate {BUNDLED_NAME} DATA --out DIR does) and name the copy"
        )
    return Path(checkpoint)
