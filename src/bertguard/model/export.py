"""torch -> ONNX fp32 and int8, and the proof that the three say the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from bertguard.errors import CheckpointError, DataError
from bertguard.model.checkpoint import ONNX_FP32, ONNX_INT8, Manifest, read_manifest, write_manifest
from bertguard.model.onnx_graph import quiet, to_onnx
from bertguard.model.onnx_scorer import OnnxScorer
from bertguard.model.smoothing import smooth
from bertguard.model.tokenization import WindowTokenizer
from bertguard.model.torch_scorer import TorchScorer
from bertguard.model.writing import writing

if TYPE_CHECKING:
    from bertguard.scoring import Scorer, Window

LARGEST_FP32_DIFFERENCE = 1e-4
LARGEST_INT8_MEAN_DIFFERENCE = 0.01
LARGEST_INT8_FLIPS = 0.005
# Largest values settle after a few dozen texts; long ones add little after their first windows.
_CALIBRATION_TEXTS = 128
_CALIBRATION_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the ONNX models are from torch, on real texts.

    Differences are of P(injection). `flips` is the share of texts whose action (allow, flag,
    block) at the checkpoint's thresholds is another with int8. `fp32_products` names the matrix
    products that int8 left in fp32, if any; `smoothed` says whether the graph was smoothed first.
    """

    texts: int
    fp32_largest: float
    int8_mean: float
    int8_largest: float
    flips: float
    fp32_products: str = "none"
    smoothed: bool = False

    @property
    def holds(self) -> bool:
        """True where every bound is kept."""
        return (
            self.fp32_largest <= LARGEST_FP32_DIFFERENCE
            and self.int8_mean <= LARGEST_INT8_MEAN_DIFFERENCE
            # One flip says nothing about the rate where fewer texts than 1 / rate were measured.
            and self.flips <= max(LARGEST_INT8_FLIPS, 1 / self.texts)
        )

    def lines(self) -> list[str]:
        """The figures with their bounds, one line each."""
        return [
            f"fp32 ONNX against torch: largest difference {self.fp32_largest:.2e} "
            f"(at most {LARGEST_FP32_DIFFERENCE:.0e})",
            f"int8 ONNX against torch: mean difference {self.int8_mean:.4f} "
            f"(at most {LARGEST_INT8_MEAN_DIFFERENCE}), largest {self.int8_largest:.3f}",
            f"int8 decisions flipped: {self.flips:.2%} of {self.texts} texts "
            f"(at most {LARGEST_INT8_FLIPS:.1%})",
            f"matrix products left in fp32: {self.fp32_products}; "
            f"activations smoothed: {'yes' if self.smoothed else 'no'}",
        ]


def export(
    directory: Path,
    texts: Sequence[tuple[str, str]],
    *,
    calibration: Sequence[tuple[str, str]] = (),
    keep_fp32: bool = False,
    report: Callable[[str], None] | None = None,
) -> Parity:
    """Write `model.int8.onnx` into a checkpoint directory and measure it on `texts`.

    Two graphs are tried, as it is and smoothed (see `bertguard.model.smoothing`), and the one that
    is nearer to torch is kept. If neither is close enough, products that follow the activation of
    a feed-forward block stay in fp32, since their inputs have the outliers (Bondarenko et al. 2021,
    https://arxiv.org/abs/2109.12948): first the one that costs most, then two, then all.

    Args:
        directory: a checkpoint that `guard train` wrote.
        texts: (text, channel) pairs, real ones; 500 or more make the figures mean something.
        calibration: other real ones, a hundred or so, for smoothing and to choose such products by;
            none takes those of `texts`.
        keep_fp32: also leave `model.fp32.onnx` there.
        report: called with a line on each stage as it begins; together they take minutes.

    Raises:
        CheckpointError: the bounds are not kept; the int8 file is not left behind.
        DataError: there are no texts, or the tokenizer makes nothing of them.
    """
    tell = report or (lambda _: None)
    # The int8 file that lies there is about to be replaced, whatever became of it.
    manifest = read_manifest(directory, unchecked=(ONNX_INT8,))
    tokenizer = WindowTokenizer.from_checkpoint(directory, manifest)
    given = len(texts)
    texts, calibration = (
        [pair for pair in pairs if tokenizer.holds_tokens(*pair)] for pairs in (texts, calibration)
    )
    if not texts:
        raise DataError(
            f"guard export needs texts to measure on; none of {given} texts holds a token"
        )
    with tempfile.TemporaryDirectory(prefix="bertguard-export-") as scratch:
        fp32 = Path(scratch) / ONNX_FP32
        tell("writing the fp32 graph")
        to_onnx(directory, manifest, fp32)
        tell(f"scoring {len(texts)} texts in fp32, with torch and with the graph")
        reference = _scores(TorchScorer.load(directory, manifest, device="cpu"), texts)
        exact = _scores(_onnx(directory, manifest, fp32), texts)
        fp32_largest = float(np.abs(exact - reference).max())
        tell("smoothing")
        smoothed = Path(scratch) / "model.smoothed.onnx"
        smooth(fp32, smoothed, _windows(directory, manifest, fp32, calibration or texts))
        tuning = calibration or texts

        def tuning_scores(file: Path) -> np.ndarray:
            return _scores(_onnx(directory, manifest, file), tuning)

        for count in (0, 1, 2, None):
            tell(f"trying int8 with {'all' if count is None else count} of its products in fp32")
            tried = []
            for graph in (smoothed, fp32):
                file = Path(scratch) / f"{graph.stem}.int8.onnx"
                keep = every = feed_forward_outputs(graph)
                if count is not None and count < len(every):
                    keep = _worst_products(graph, count, exact=fp32, scores=tuning_scores)
                quantise(graph, file, keep=keep)
                quick = _scores(_onnx(directory, manifest, file), texts)
                one = _compare(reference, quick, texts, manifest=manifest)
                kept = f"{len(keep)} of {len(every)} feed-forward outputs" if keep else "none"
                one = replace(one, fp32_largest=fp32_largest, fp32_products=kept)
                tried.append((replace(one, smoothed=graph == smoothed), file))
            # What keeps the bounds comes first, then what is nearer.
            parity, int8 = min(tried, key=lambda pair: (not pair[0].holds, pair[0].int8_mean))
            if parity.holds:
                break
        if not parity.holds:
            raise CheckpointError(
                f"{directory}: the exported model is too far from the trained one. "
                + "; ".join(parity.lines())
            )
        if keep_fp32:
            _put(fp32, directory / ONNX_FP32)
        _put(int8, directory / ONNX_INT8)
    metrics = {**manifest.metrics, "int8_parity": _rounded(parity)}
    write_manifest(directory, replace(manifest, metrics=metrics), written=(ONNX_INT8,))
    return parity


def _put(file: Path, target: Path) -> None:
    """Copy a file to its place: an interruption leaves the old one whole."""
    # `replace` cannot cross file systems, and a scratch folder may be on another one.
    beside = target.with_name(f".{target.name}.part")
    with writing(target):
        try:
            shutil.copyfile(file, beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)


def quantise(fp32: Path, int8: Path, *, keep: Sequence[str]) -> None:
    """Dynamic int8, weights per output channel, word embeddings included; `keep` stays fp32.

    Source: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
    """
    with quiet():
        quantize_dynamic(
            fp32,
            int8,
            per_channel=True,
            # Seven-bit weights cannot overflow the 16-bit sums of CPUs without VNNI.
            reduce_range=False,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(keep),
            extra_options={"MatMulConstBOnly": True},
        )


def feed_forward_outputs(fp32: Path) -> list[str]:
    """Names of the products whose weight is wider than tall: back from the feed-forward width."""
    graph = onnx.load(fp32).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm")
        and len(shape := shapes.get(node.input[1], ())) == 2
        and max(shape) >= 2 * min(shape)
        and shape[0 if node.op_type == "MatMul" else _inner(node)] == max(shape)
        and min(shape) > 8
    ]


def _worst_products(
    graph: Path, count: int, *, exact: Path, scores: Callable[[Path], np.ndarray]
) -> list[str]:
    """The `count` feed-forward outputs whose quantisation costs most, each judged alone."""
    if count == 0:
        return []
    expected = scores(exact)
    error = {}
    for name in feed_forward_outputs(graph):
        file = graph.with_suffix(".one.onnx")
        quantise(graph, file, keep=[name])
        error[name] = np.abs(scores(file) - expected).mean()
    return sorted(error, key=lambda name: error[name])[:count]


def _inner(node: onnx.NodeProto) -> int:
    """Which axis of a Gemm's weight is summed over."""
    transposed = any(a.name == "transB" and a.i == 1 for a in node.attribute)
    return 1 if transposed else 0


def _onnx(directory: Path, manifest: Manifest, file: Path) -> Scorer:
    return OnnxScorer.load(directory, manifest, file=str(file.resolve()), parallelism=1)


def _windows(
    directory: Path, manifest: Manifest, file: Path, texts: Sequence[tuple[str, str]]
) -> list[Window]:
    """Windows of the first texts, a few of each."""
    scorer = _onnx(directory, manifest, file)
    return [
        window
        for text, channel in texts[:_CALIBRATION_TEXTS]
        for window in islice(scorer.windows(text, channel), _CALIBRATION_WINDOWS)
    ]


def _scores(scorer: Scorer, texts: Sequence[tuple[str, str]]) -> np.ndarray:
    """The score of each text: its worst window's, windows one at a time as in serving."""
    return np.asarray(
        [
            # NumPy's: it hands a NaN on, which keeps no bound, where `max` may pass over it.
            np.max(
                [scorer.score([window])[0] for window in scorer.windows(text, channel)], initial=0
            )
            for text, channel in texts
        ]
    )


def _compare(
    reference: np.ndarray,
    quick: np.ndarray,
    texts: Sequence[tuple[str, str]],
    *,
    manifest: Manifest,
) -> Parity:
    difference = np.abs(quick - reference)
    thresholds = np.asarray([manifest.thresholds[channel] for _, channel in texts])
    before = (reference[:, None] >= thresholds).sum(axis=1)
    after = (quick[:, None] >= thresholds).sum(axis=1)
    return Parity(
        texts=len(texts),
        fp32_largest=0.0,
        int8_mean=float(difference.mean()),
        int8_largest=float(difference.max()),
        flips=float((before != after).mean()),
    )


def _rounded(parity: Parity) -> dict[str, object]:
    return {
        "texts": parity.texts,
        "fp32_largest": float(f"{parity.fp32_largest:.2e}"),
        "int8_mean": round(parity.int8_mean, 5),
        "int8_largest": round(parity.int8_largest, 4),
        "flips": round(parity.flips, 4),
        "fp32_products": parity.fp32_products,
        "smoothed": parity.smoothed,
    }
