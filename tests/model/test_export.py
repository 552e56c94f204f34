"""The exported models say what the trained one says, or are not written."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from transformers import (
    DebertaV2Config,
    EuroBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    XLMRobertaConfig,
)

from bertguard.errors import CheckpointError, DataError
from bertguard.model import export as exporting
from bertguard.model.checkpoint import ONNX_FP32, ONNX_INT8, read_manifest
from bertguard.model.export import Parity, export
from bertguard.model.loading import load_scorer
from bertguard.model.onnx_graph import to_onnx
from bertguard.model.onnx_scorer import OnnxScorer
from bertguard.model.torch_scorer import TorchScorer
from bertguard.training.augment import Augmentation
from bertguard.training.examples import Example
from bertguard.training.loop import train
from bertguard.training.settings import Settings
from tiny import SMALL, WORDS, tiny_checkpoint, tiny_encoder

TEXTS = [(" ".join(WORDS[n : n + 9]), ("prompt", "data")[n % 2]) for n in range(20)]


def test_both_models_agree_with_torch(tmp_path: Path) -> None:
    """fp32 within 1e-4, int8 within 0.01 on average; the figures stand in the manifest."""
    # An untrained model scores anywhere: thresholds out of its reach keep one text near them from
    # deciding the test.
    directory = tiny_checkpoint(
        tmp_path, onnx=False, thresholds={"prompt": (0.99, 0.999), "data": (0.99, 0.999)}
    )
    parity = export(directory, TEXTS, keep_fp32=True)
    assert parity.holds
    assert parity.fp32_largest < 1e-4
    assert (directory / ONNX_FP32).is_file()
    manifest = read_manifest(directory)
    assert ONNX_INT8 in manifest.files
    assert manifest.metrics["int8_parity"]["texts"] == 20  # type: ignore[index]  # JSON
    for name in (ONNX_FP32, ONNX_INT8):
        # The exporter would note the file and line that every node came from.
        assert b"site-packages" not in (directory / name).read_bytes()
        assert b"stack_trace" not in (directory / name).read_bytes()


def test_attention_is_one_node_and_nothing_is_masked(tmp_path: Path) -> None:
    """Windows go alone; a mask and the cutting into heads would only cost time."""
    directory = tiny_checkpoint(tmp_path, onnx=False)
    file = tmp_path / "model.onnx"
    to_onnx(directory, read_manifest(directory), file)
    graph = onnx.load(file).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert [one.name for one in graph.input] == ["input_ids", "token_type_ids"]
    assert kinds["MultiHeadAttention"] == 2
    assert not {"Softmax", "Transpose", "Where"} & set(kinds)
    # Position ids are cut to length; nothing is cut into heads.
    assert kinds["Reshape"] == 0


@pytest.mark.parametrize(
    "config",
    [
        XLMRobertaConfig(**SMALL, type_vocab_size=1, pad_token_id=0),
        DebertaV2Config(**SMALL, relative_attention=True, type_vocab_size=0),
        MPNetConfig(**SMALL),
        # Two heads share keys and values: no node for that.
        EuroBertConfig(**SMALL, num_key_value_heads=1, pad_token_id=0),
        ModernBertConfig(**SMALL, pad_token_id=0, local_attention=8),
    ],
    ids=["xlm-roberta", "deberta-v2", "mpnet", "eurobert", "modernbert"],
)
def test_every_attention_is_exported_as_it_is(config: PretrainedConfig, tmp_path: Path) -> None:
    """As one node where it can be, and with its own products where it cannot."""
    base = tiny_encoder(tmp_path / "base", config=config)
    rows = [Example(text, n % 2, "prompt", "here") for n, (text, _) in enumerate(TEXTS)]
    settings = Settings(base=str(base), window_tokens=32, augmentation=Augmentation(replay=0))
    directory = tmp_path / "out"
    train(rows, rows[:4], settings=settings, out=directory, device="cpu")
    file = tmp_path / "model.onnx"
    manifest = read_manifest(directory)
    to_onnx(directory, manifest, file)
    exact = TorchScorer.load(directory, manifest, device="cpu")
    exported = OnnxScorer.load(directory, manifest, file=str(file), parallelism=1)
    for text, channel in TEXTS[:4]:
        windows = list(exact.windows(text * 3, channel))
        assert exported.score(windows) == pytest.approx(exact.score(windows), abs=1e-5)


def test_a_model_that_is_too_far_off_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error carries the figures, and no int8 file is left behind."""
    directory = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    (directory / ONNX_INT8).unlink()
    manifest = read_manifest(checkpoint)
    files = {name: facts for name, facts in manifest.files.items() if name != ONNX_INT8}
    (directory / "guard.json").write_text(
        replace(manifest, files=files).to_json(), encoding="utf-8"
    )
    monkeypatch.setattr(exporting, "LARGEST_INT8_MEAN_DIFFERENCE", -1.0)
    with pytest.raises(CheckpointError, match="mean difference"):
        export(directory, TEXTS)
    assert not (directory / ONNX_INT8).exists()


def test_no_more_is_left_in_fp32_than_it_takes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where whole int8 is too far off and one product in fp32 mends it, one it is."""
    directory = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    whole = export(directory, TEXTS)
    monkeypatch.setattr(Parity, "holds", property(lambda self: self.fp32_products != "none"))
    parity = export(directory, TEXTS)
    assert (whole.fp32_products, parity.fp32_products) == ("none", "1 of 2 feed-forward outputs")
    graph = onnx.load(directory / ONNX_INT8).graph
    matrices = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    assert sum(n.op_type == "MatMul" and n.input[1] in matrices for n in graph.node) == 1


def test_an_interrupted_export_leaves_the_old_model_whole(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint that was there before still loads, and nothing half written lies beside it."""
    directory = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    before = sorted(file.name for file in directory.iterdir())

    def full(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)"):
        export(directory, TEXTS)
    assert load_scorer(directory, device="cpu").model_id == "tiny/onnx-int8"
    assert sorted(file.name for file in directory.iterdir()) == before


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_int8_model_is_replaced(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    """Export is the way out of a checkpoint whose int8 file is not what the manifest says."""
    directory = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    (directory / ONNX_INT8).unlink()
    if damage == "truncated":
        (directory / ONNX_INT8).write_bytes(b"half")
    export(directory, TEXTS)
    assert load_scorer(directory, device="cpu").model_id == "tiny/onnx-int8"


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"fp32_largest": 2e-4}, False),
        ({"int8_mean": 0.011}, False),
        ({"flips": 0.006}, False),
    ],
)
def test_every_bound_counts(changes: dict[str, float], holds: bool) -> None:
    """One figure beyond its bound is enough to fail."""
    good = {"fp32_largest": 1e-6, "int8_mean": 0.01, "int8_largest": 0.3, "flips": 0.005}
    assert Parity(texts=500, **(good | changes)).holds is holds  # type: ignore[arg-type]  # floats


def test_without_texts_nothing_can_be_measured(checkpoint: Path) -> None:
    """No figures, no export."""
    with pytest.raises(DataError, match="needs texts"):
        export(checkpoint, [])


def test_texts_without_tokens_are_no_texts(checkpoint: Path, tmp_path: Path) -> None:
    """Among others they are not measured; alone they are an error that says so."""
    own = Path(shutil.copytree(checkpoint, tmp_path / "own"))
    blank = [("\u200b", "prompt"), ("\u2060\u200b", "data")]
    with pytest.raises(DataError, match="none of 2 texts holds a token"):
        export(own, blank)
    assert export(own, [*TEXTS[:3], *blank], calibration=blank).texts == 3
