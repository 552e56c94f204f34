"""The same classifier under every runtime that is installed: why the guard serves what it serves.

One text at a time on one thread, and one thread on every core for the throughput: how cores are
shared out is the guard's own affair. OpenVINO and its quantisation (`pip install openvino nncf`)
are measured where they are there; nothing of the package needs them.
"""

from __future__ import annotations

import io
import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bertguard.bench.bare import Arrangement, BareModel, Feed, feed_of
from bertguard.bench.texts import text_of
from bertguard.errors import MissingExtraError

if TYPE_CHECKING:
    import torch

    from bertguard.model.checkpoint import Manifest

TOKENS = (16, 64, 128, 256)
_BUSY_TOKENS = 64
# What a quantisation without labels looks at.
_SAMPLES = 60

Run = Callable[[Feed], object]


@dataclass(frozen=True, slots=True)
class Runtime:
    """One way to run the model: `open` gives a function for one thread, or says why it cannot."""

    name: str
    open: Callable[[], Run]


def measure_runtimes(
    directory: Path, rounds: int, seconds: float, *, cores: int
) -> list[dict[str, object]]:
    """Milliseconds of one text by its tokens, and tokens per second of all cores, per runtime.

    Medians of `rounds` taken in turns; `times` is the throughput against the first row, which is
    what the guard serves where there is an int8 file. Where a runtime cannot be had, its name says
    why.

    Raises:
        MissingExtraError: torch, which the fp32 models come from, is not installed.
    """
    if any(find_spec(name) is None for name in ("torch", "transformers", "onnxscript")):
        raise MissingExtraError("guard bench runtimes", "train")
    from bertguard.model.checkpoint import read_manifest
    from bertguard.model.tokenization import WindowTokenizer

    manifest = read_manifest(directory)
    tokenizer = WindowTokenizer.from_checkpoint(directory, manifest)
    feeds = {
        tokens: feed_of([next(tokenizer.windows(text_of(tokens), "prompt"))]) for tokens in TOKENS
    }
    with tempfile.TemporaryDirectory(prefix="bertguard-runtimes-") as scratch, _one_thread():
        runs: dict[str, Run] = {}
        rows: list[dict[str, object]] = []
        runtimes = list(_runtimes(directory, manifest, Path(scratch), list(feeds.values())))
        for runtime in runtimes:
            row: dict[str, object] = {"runtime": runtime.name}
            try:
                run = runtime.open()
                run(feeds[TOKENS[0]])
            except Exception as error:  # noqa: BLE001 - a foreign runtime; the others still count
                row["runtime"] = f"{runtime.name}: {type(error).__name__}"
                row |= dict.fromkeys((*_COLUMNS, *_TOGETHER), "")
            else:
                runs[runtime.name] = run
            rows.append(row)
        alone = dict(zip(runs, _alone(list(runs.values()), feeds, rounds), strict=True))
        first = 0.0
        for runtime, row in zip(runtimes, rows, strict=True):
            if runtime.name in runs:
                busy = _busy([runtime.open() for _ in range(cores)], feeds[_BUSY_TOKENS], seconds)
                first = first or busy
                row |= dict(zip(_COLUMNS, alone[runtime.name], strict=True))
                row |= dict(zip(_TOGETHER, (busy, busy / first), strict=True))
    return rows


_COLUMNS = tuple(f"{tokens} tokens (ms)" for tokens in TOKENS)
_TOGETHER = ("tokens/s", "times")


def _runtimes(
    directory: Path, manifest: Manifest, scratch: Path, feeds: Sequence[Feed]
) -> Iterator[Runtime]:
    from bertguard.model.checkpoint import ONNX_INT8
    from bertguard.model.onnx_graph import to_onnx

    if (directory / ONNX_INT8).is_file():
        served = BareModel(directory / ONNX_INT8)
        yield Runtime("ONNX Runtime int8 (as served)", lambda: served.session(1))
    fused, plain = scratch / "fused.onnx", scratch / "plain.onnx"
    to_onnx(directory, manifest, fused)
    yield Runtime("ONNX Runtime fp32", lambda: BareModel(fused).session(1))
    for dtype in ("fp32", "bf16"):
        yield Runtime(f"torch {dtype}", lambda dtype=dtype: _torch(directory, manifest, dtype))  # type: ignore[misc]  # a default binds the name
    yield Runtime("torch.compile fp32", lambda: _torch(directory, manifest, "fp32", compiled=True))
    if find_spec("openvino") is None:
        yield Runtime("OpenVINO (pip install openvino nncf)", _not_there)
        return
    to_onnx(directory, manifest, plain, one_node=False)
    for dtype in ("f32", "bf16"):
        yield Runtime(f"OpenVINO {dtype}", lambda dtype=dtype: _openvino(_read(plain), dtype))  # type: ignore[misc]  # the same
    quantised = cache(lambda: _quantised(_read(plain), feeds))
    yield Runtime("OpenVINO int8 (static, NNCF)", lambda: _openvino(quantised(), "f32"))


def _not_there() -> Run:
    raise ModuleNotFoundError


def _torch(directory: Path, manifest: Manifest, dtype: str, *, compiled: bool = False) -> Run:
    import torch

    from bertguard.model.torch_scorer import DTYPES, load_classifier

    classifier = load_classifier(directory, manifest).to(dtype=DTYPES[dtype])
    classifier.train(False)
    model: Callable[..., torch.Tensor] = (
        torch.compile(classifier, dynamic=True) if compiled else classifier
    )

    def run(feed: Feed) -> object:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(values) for name, values in feed.items()})

    return run


def _read(file: Path) -> Any:
    import openvino

    return openvino.Core().read_model(str(file))


def _quantised(model: Any, feeds: Sequence[Feed]) -> Any:
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    samples = [_own(model, feed) for feed in islice(itertools.cycle(feeds), _SAMPLES)]
    with redirect_stdout(io.StringIO()):  # bars, where figures belong
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=_SAMPLES,
        )


def _openvino(model: Any, dtype: str) -> Run:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": dtype}
    request = (
        openvino.Core()
        .compile_model(model, "CPU", settings | {"ENABLE_CPU_PINNING": False})
        .create_infer_request()
    )
    return lambda feed: request.infer(_own(model, feed), share_inputs=True)


def _own(model: Any, feed: Feed) -> Feed:
    return {name: feed[name] for node in model.inputs for name in node.get_names() if name in feed}


def _alone(runs: Sequence[Run], feeds: dict[int, Feed], rounds: int) -> list[tuple[float, ...]]:
    """Milliseconds of each run by length."""
    found: list[list[float]] = [[] for _ in runs]
    for feed in feeds.values():
        taken: list[list[float]] = [[] for _ in runs]
        for number in range(rounds + 3):  # the first ones warm
            for run, times in zip(runs, taken, strict=True):
                begun = time.perf_counter()
                run(feed)
                if number > 2:
                    times.append(time.perf_counter() - begun)
        for times, own in zip(taken, found, strict=True):
            own.append(median(times) * 1e3)
    return [tuple(own) for own in found]


def _busy(runs: Sequence[Run], feed: Feed, seconds: float) -> float:
    """Tokens per second of so many threads, each with a model of its own."""
    tokens = feed["input_ids"].size

    def counted(run: Run) -> Callable[[], int]:
        run(feed)  # warm

        def call() -> int:
            run(feed)
            return tokens

        return call

    done, took = Arrangement("", tuple(map(counted, runs))).tokens_in(seconds)
    return done / took


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            # Of compilers and exporters; none is the user's.
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(before)
