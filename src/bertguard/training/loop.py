"""The training loop: predict, loss, gradients, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from bertguard.errors import ConfigurationError, DataError
from bertguard.model.checkpoint import Manifest
from bertguard.model.torch_scorer import collate
from bertguard.model.writing import must_be_writable
from bertguard.training import resume, saving
from bertguard.training.augment import Augmentation, TrainingText, epoch_texts
from bertguard.training.epoch import LabelledWindow, epoch_batches, labelled_windows
from bertguard.training.examples import Example
from bertguard.training.objective import doubled, objective, parameter_groups, passes
from bertguard.training.rows import new_share, only_rows
from bertguard.training.settings import Settings
from bertguard.training.start import (
    Start,
    must_be_free,
    must_hold_tokens,
    must_teach,
    starting_point,
)
from bertguard.training.validation import Scored, Validator, autocast, keep, validation_loss

# Where new words alone are learnt, a window of which fewer of the tokens are new teaches little.
_LEAST_NEW = 0.1
# Updates between two saved states: minutes of work at most are done twice.
_SAVE_EVERY = 200


@dataclass(frozen=True, slots=True)
class Step:
    """What a progress bar shows: `done` of `total` batches, tokens of the last one, its loss."""

    epoch: int
    done: int
    total: int
    tokens: int
    loss: float
    validation: float | None = None


Report = Callable[[Step], None]


def train(
    training: Sequence[Example],
    validation: Sequence[Example],
    *,
    settings: Settings,
    out: Path,
    command: str = "",
    device: str = "auto",
    fresh: bool = False,
    report: Report | None = None,
) -> Manifest | None:
    """Fine-tune a classifier and write a checkpoint directory.

    Started again after an interruption with the same data and settings, it goes on from the last
    saved state and ends with the same weights (on a CPU, bit for bit).

    Args:
        training: what is learnt from.
        validation: what chooses the weights that are kept, temperature and thresholds.
        settings: hyper-parameters.
        out: the checkpoint directory; made if it is missing.
        command: recorded in the model card.
        device: `auto` or `cpu`; several processes come from `accelerate launch`.
        fresh: forget an interrupted run that lies in `out`.
        report: called after every update on the main process.

    Returns:
        The manifest; None on processes other than the main one.

    Raises:
        ConfigurationError: settings that cannot be, an `out` that holds other things or cannot be
            written to, or a run that diverged.
        CheckpointError: there is no such base, an interrupted run of other settings in `out`, or
            a disk that is full.
        DataError: the rows teach nothing, or there are none to validate on.
    """
    if device not in ("auto", "cpu"):
        raise ConfigurationError(
            f'device={device!r}: use "auto" or "cpu"; CUDA_VISIBLE_DEVICES chooses among GPUs'
        )
    must_teach(training, validation, settings)
    must_be_free(out, settings)
    # Mixed precision is ours: accelerate's is one for the whole interpreter, and the next call of
    # `train` may want another.
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    start = starting_point(settings)
    must_hold_tokens(training, validation, start.tokenizer)
    must_be_writable(out)
    fingerprint = resume.fingerprint(settings, training, validation, accelerator.num_processes)
    if accelerator.is_main_process and fresh:
        resume.discard(out)
    accelerator.wait_for_everyone()
    _fit(
        accelerator,
        start,
        training,
        validation,
        settings=settings,
        out=out,
        fingerprint=fingerprint,
        report=report,
    )
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return None
    manifest = saving.finish(
        out, start, settings=settings, training=training, validation=validation, command=command
    )
    resume.discard(out)
    return manifest


def _fit(
    accelerator: Accelerator,
    start: Start,
    training: Sequence[Example],
    validation: Sequence[Example],
    *,
    settings: Settings,
    out: Path,
    fingerprint: str,
    report: Report | None,
) -> None:
    # (benign, injection), before anything is computed: a base may have other labels.
    classes = start.manifest.benign_index, start.manifest.injection_index
    classifier = start.classifier.train()
    if accelerator.device.type == "cpu":
        use_plain_attention(classifier.encoder)
    if settings.learn == "new-words":
        only_rows(classifier, start.first_new)
    optimizer = torch.optim.AdamW(
        parameter_groups(classifier, settings),
        lr=settings.learning_rate,
        # One pass over weights and moments instead of a dozen.
        fused=accelerator.device.type in ("cpu", "cuda"),
    )
    progress = resume.load(out, fingerprint, classifier, optimizer)
    # The optimizer stays as it is: accelerate's wrapper is for accumulated and scaled gradients,
    # and searches the disk for a package at every step.
    model = accelerator.prepare(classifier)
    bf16 = in_bf16(settings, accelerator.device)
    validator = Validator(
        _validation_texts(validation, settings),
        start.tokenizer,
        start.manifest,
        accelerator,
        bf16=bf16,
    )

    for epoch in range(progress.epoch, settings.epochs):
        batches = _batches(training, start, settings, epoch, accelerator)
        checks = {len(batches) * (part + 1) // settings.checks for part in range(settings.checks)}
        for number in range(progress.done, len(batches)):
            # Seeded step by step, so that a resumed run drops the same features out.
            _seed(
                accelerator.device,
                _step_seed(settings.seed, progress.step, accelerator.process_index),
            )
            for group in optimizer.param_groups:
                group["lr"] = (
                    settings.learning_rate
                    * group["scale"]
                    * schedule((epoch + number / len(batches)) / settings.epochs, settings.warmup)
                )
            inputs, labels = _tensors(batches[number], start.manifest, classes, accelerator.device)
            if settings.r_drop:
                inputs, labels = doubled(inputs, labels)

            for _ in passes(classifier, settings.adversarial):
                with autocast(accelerator.device, bf16=bf16):
                    logits = model(**inputs).float()  # predict
                loss = objective(logits, labels, settings)  # loss
                accelerator.backward(loss)  # gradients
            norm = accelerator.clip_grad_norm_(model.parameters(), settings.clip)
            # One wait for the device instead of two: it is idle while it is asked.
            value, length = torch.stack([loss.detach(), torch.as_tensor(norm)]).tolist()
            if not math.isfinite(value) or not math.isfinite(length):
                raise ConfigurationError(
                    f"the loss ({value:g}) or its gradient is not finite at update "
                    f"{progress.step + 1}: the run has diverged; use a learning rate below "
                    f"{settings.learning_rate:g} or dtype fp32, and --fresh"
                )
            optimizer.step()  # update
            optimizer.zero_grad()

            progress = replace(progress, epoch=epoch, done=number + 1, step=progress.step + 1)
            checked = None
            if number + 1 in checks:
                # Not `model`: of several processes each has its own number of batches here, and a
                # wrapped model would wait for the others at every one.
                scored = validator(classifier)
                checked = validation_loss(scored)
                if settings.keep == "last" or progress.best is None or checked < progress.best:
                    progress = replace(progress, best=checked)
                    _keep(accelerator, out, classifier, scored)
            if accelerator.is_main_process:
                if report is not None:
                    tokens = sum(len(item.window.ids) for item in batches[number])
                    tokens *= 2 if settings.r_drop else 1
                    report(Step(epoch, number + 1, len(batches), tokens, value, checked))
                if checked is not None or progress.step % _SAVE_EVERY == 0:
                    resume.save(out, progress, classifier, optimizer)
        progress = replace(progress, epoch=epoch + 1, done=0)


def _seed(device: torch.device, seed: int) -> None:
    """`torch.manual_seed`, for the devices that this run draws on.

    That one also seeds every kind of device that was never started: it queues a call with a
    formatted stack for each, at every step, which are never made.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)


def use_plain_attention(encoder: PreTrainedModel) -> None:
    """For a CPU, whose fused attention is slower at these lengths than two products: 0.7 times."""
    encoder.set_attn_implementation("eager")


def schedule(progress: float, warmup: float) -> float:
    """Share of the peak rate: a linear rise over `warmup`, then a linear fall to 0."""
    if progress < warmup:
        # Not from 0: the very first batch should teach something too.
        return max(progress / warmup, 0.01)
    return (1 - progress) / (1 - warmup)


def _batches(
    training: Sequence[Example],
    start: Start,
    settings: Settings,
    epoch: int,
    accelerator: Accelerator,
) -> list[list[LabelledWindow]]:
    """This process's batches of an epoch; every process has the same number of them."""
    texts = epoch_texts(training, settings.augmentation, seed=settings.seed, epoch=epoch)
    windows = labelled_windows(
        texts,
        start.tokenizer,
        most=settings.max_windows,
        rng=Random(f"windows:{settings.seed}:{epoch}"),
    )
    if settings.learn == "new-words":
        windows = [one for one in windows if new_share(one.window, start.first_new) >= _LEAST_NEW]
    if not windows:
        raise DataError("the training rows hold no such token; nothing can be learnt from them")
    batches = epoch_batches(
        windows, max_tokens=settings.batch_tokens, seed=settings.seed * 1000 + epoch
    )
    missing = -len(batches) % accelerator.num_processes
    batches += [batches[place % len(batches)] for place in range(missing)]
    return batches[accelerator.process_index :: accelerator.num_processes]


def _tensors(
    batch: Sequence[LabelledWindow],
    manifest: Manifest,
    classes: tuple[int, int],
    device: torch.device,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Inputs `(batch, tokens)` and class numbers `(batch,)` on the device."""
    inputs = collate([item.window for item in batch], pad_id=manifest.pad_id)
    labels = torch.tensor([classes[item.label] for item in batch])
    return {name: value.to(device) for name, value in inputs.items()}, labels.to(device)


def _keep(
    accelerator: Accelerator, out: Path, classifier: nn.Module, scored: Sequence[Scored]
) -> None:
    if accelerator.is_main_process:
        saving.write_weights(out, classifier)
        keep(out, scored)


def _validation_texts(validation: Sequence[Example], settings: Settings) -> list[TrainingText]:
    """Validation rows as they are, and injections composed from them, never written oddly."""
    composed = Augmentation(composed=settings.augmentation.composed // 8)
    return epoch_texts(validation, composed, seed=settings.seed, epoch=-1)


def in_bf16(settings: Settings, device: torch.device) -> bool:
    """Whether products are taken in bf16: as asked, else where the device has the instruction."""
    if settings.dtype != "auto":
        return settings.dtype == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # bf16 without the instruction is emulated and slower than fp32.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and bool(supported())


def _step_seed(seed: int, step: int, process: int) -> int:
    return (seed * 1_000_003 + step) * 64 + process
