"""The CPU default: ONNX Runtime with int8 weights. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bertguard.errors import CheckpointError, ConfigurationError
from bertguard.model.checkpoint import ONNX_INT8, Manifest, verified
from bertguard.model.sums import sums_are_exact
from bertguard.model.tokenization import WindowTokenizer
from bertguard.scoring import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


# ONNX Runtime joins a sum and the norm after it to one node whose kernel takes four times as long
# as the two (1.32, AVX-512): without it a window takes 0.83 to 0.9 times as long.
_SLOWER_FUSIONS = ["SkipLayerNormFusion", "BiasSkipLayerNormFusion"]


class OnnxScorer:
    """Scores windows with ONNX Runtime on the CPU.

    Each window goes through the model alone. Dynamic quantisation takes the range of the
    activations from the whole batch, so in a batch the score of a text would depend on its
    neighbours and on padding; alone it is always the same, there is no padding to pay for, and
    short batches on one thread per core are as fast (see `guard bench`).

    Args:
        session: an `onnxruntime.InferenceSession` that gives logits `(batch, labels)`.
        tokenizer: cuts texts into windows.
        manifest: labels, temperature, prior and thresholds.
        model_id: how verdicts name this model.
        parallelism: threads that may score at once; one core each.
    """

    # Windows of a batch go through one after the other, and all of them wait for the last: more
    # than a few short ones would only keep answers back.
    max_batch_tokens = 64

    def __init__(
        self,
        session: object,
        *,
        tokenizer: WindowTokenizer,
        manifest: Manifest,
        model_id: str,
        parallelism: int,
    ) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._manifest = manifest
        self._inputs = {node.name for node in session.get_inputs()}  # type: ignore[attr-defined]  # onnxruntime is untyped
        self._temperature = [manifest.temperature["prompt"], manifest.temperature["data"]]
        self._log_prior_odds = manifest.log_prior_odds
        self._injection = manifest.injection_index
        self.model_id = model_id
        self.parallelism = parallelism

    @classmethod
    def load(
        cls,
        directory: Path,
        manifest: Manifest,
        *,
        file: str = ONNX_INT8,
        parallelism: int | None = None,
    ) -> OnnxScorer:
        """Load `file` of a checkpoint directory.

        Raises:
            CheckpointError: the file is missing, damaged, or no ONNX model.
            ConfigurationError: onnxruntime is not there, or broken.
        """

        def opened() -> object:
            listed = file == ONNX_INT8
            return open_session(verified(directory, file, manifest) if listed else directory / file)

        # Hashing and opening let go of the GIL: the tokenizer is read meanwhile.
        with ThreadPoolExecutor(1) as pool:
            session = pool.submit(opened)
            tokenizer = WindowTokenizer.from_checkpoint(directory, manifest)
        return cls(
            session.result(),
            tokenizer=tokenizer,
            manifest=manifest,
            model_id=f"{manifest.name}/onnx-int8" if file == ONNX_INT8 else f"{manifest.name}/onnx",
            parallelism=parallelism or usable_cores(),
        )

    @property
    def thresholds(self) -> Mapping[str, tuple[float, float]]:
        """Channel name -> (flag_at, block_at)."""
        return self._manifest.thresholds

    def windows(self, text: str, channel: str) -> Iterator[Window]:
        """Overlapping windows that cover every token of `text`."""
        return self._tokenizer.windows(text, channel)

    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        """P(injection) of each window."""
        scores = []
        for window in windows:
            logits = self._logits(window)[0] / self._temperature[window.channel]
            logits[self._injection] += self._log_prior_odds
            shifted = np.exp(logits - logits.max())
            scores.append(float(shifted[self._injection] / shifted.sum()))
        return scores

    def _logits(self, window: Window) -> NDArray[np.float32]:
        ids = np.asarray([window.ids], dtype=np.int64)
        feed = {"input_ids": ids}
        if "attention_mask" in self._inputs:  # nothing is padding where windows go alone
            feed["attention_mask"] = np.ones_like(ids)
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.full_like(ids, window.channel)
        return self._session.run(None, feed)[0]  # type: ignore[attr-defined,no-any-return]  # onnxruntime is untyped


def open_session(path: Path, *, threads: int = 1) -> object:
    """An ONNX Runtime session of so many threads per call; calls from several run at once.

    Raises:
        CheckpointError: the file is no ONNX model that this ONNX Runtime can run.
        ConfigurationError: onnxruntime is not there, or broken.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise ConfigurationError(
            f"onnxruntime, which the int8 model runs on, cannot be imported ({error}); repair it: "
            'pip install --force-reinstall onnxruntime, or use backend="torch"'
        ) from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Windows have many lengths; a memory pattern per length would only fill memory.
    options.enable_mem_pattern = False
    if not sums_are_exact():
        # The weights are taken as unsigned: slower, and the scores are those of every other CPU.
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_SLOWER_FUSIONS,
        )
    except Exception as error:  # onnxruntime's errors share no public base class
        raise CheckpointError(
            f"{path}: ONNX Runtime cannot load it ({type(error).__name__}); the file is damaged, "
            "or from a newer version"
        ) from error


def usable_cores() -> int:
    """Cores that this process may run on, at most 8: beyond that memory is the limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, 8))
