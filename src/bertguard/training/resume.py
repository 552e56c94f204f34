"""What an interrupted run needs to go on as if nothing had happened. Safetensors and JSON only."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from bertguard.errors import CheckpointError
from bertguard.model.writing import writing
from bertguard.training.examples import Example, data_hash
from bertguard.training.settings import Settings

FOLDER = ".resume"
# The margins of the weights that were kept, until the run is complete.
VALIDATION = ".validation.json"
_STATE = "state.json"
_MODEL = "model.safetensors"
_OPTIMIZER = "optimizer.safetensors"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `done` batches of `epoch` are behind it, `step` updates in all.

    `fingerprint` names data and settings; a run resumes only with the same. `best` is the
    validation loss of the weights that were kept.
    """

    fingerprint: str
    epoch: int = 0
    done: int = 0
    step: int = 0
    best: float | None = None


def fingerprint(
    settings: Settings, training: Sequence[Example], validation: Sequence[Example], processes: int
) -> str:
    """What a run must have in common with the one that it goes on with."""
    parts = [asdict(settings), data_hash(training), data_hash(validation), processes]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save(
    directory: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write the state beside the old one, then put it in its place: never half a state.

    Raises:
        CheckpointError: it cannot be written; the old one stays.
    """
    fresh, folder = directory / f"{FOLDER}.new", directory / FOLDER
    with writing(folder):
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            _write(fresh, progress, model, optimizer)
        except (OSError, SafetensorError):
            shutil.rmtree(fresh, ignore_errors=True)  # half a state, on a disk that is full
            raise
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


def _write(
    fresh: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    fresh.mkdir(parents=True)
    save_file(_contiguous(model.state_dict()), fresh / _MODEL)
    moments = {
        f"{place}.{name}": value.detach().cpu().contiguous()
        for place, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    save_file(moments, fresh / _OPTIMIZER)
    (fresh / _STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")


def load(
    directory: Path, fingerprint: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Fill model and optimizer from the last state; a fresh `Progress` where there is none.

    Raises:
        CheckpointError: the state belongs to other data or settings, or is damaged.
    """
    folder = directory / FOLDER
    if not folder.is_dir():
        # A crash between the two moves of `save` leaves only the new one, complete.
        fresh = directory / f"{FOLDER}.new"
        if not (fresh / _STATE).is_file():
            return Progress(fingerprint)
        folder = fresh
    try:
        progress = Progress(**json.loads((folder / _STATE).read_text(encoding="utf-8")))
        if progress.fingerprint != fingerprint:
            raise CheckpointError(
                f"{folder}: an interrupted run with other data or settings lies there; run the "
                "old command again, or pass --fresh to start over"
            )
        model.load_state_dict(load_file(folder / _MODEL))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in load_file(folder / _OPTIMIZER).items():
            place, _, name = key.partition(".")
            state.setdefault(int(place), {})[name] = value
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the state of the interrupted run cannot be read "
            f"({type(error).__name__}); pass --fresh to start over"
        ) from error
    return progress


def begun(directory: Path) -> bool:
    """True where an interrupted run lies."""
    return any((directory / name).exists() for name in (FOLDER, f"{FOLDER}.new", VALIDATION))


def discard(directory: Path) -> None:
    """Remove the state: the run is complete, or starts over."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)
    shutil.rmtree(directory / f"{FOLDER}.new", ignore_errors=True)
    # Last: while the state is there, the end of the run needs them.
    (directory / VALIDATION).unlink(missing_ok=True)


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
