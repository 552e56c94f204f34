"""`guard average`: the mean of several runs, one checkpoint that loads and says what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from bertguard import Guard
from bertguard.cli import app
from bertguard.model.checkpoint import (
    CARD,
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    read_manifest,
    write_manifest,
)
from disk import full_disk
from tiny import tiny_checkpoint


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_every_weight_is_the_mean_and_the_result_scores(tmp_path: Path) -> None:
    """Weights lie half way; the manifest and the card name both runs; a guard loads it."""
    parts = [tiny_checkpoint(tmp_path / f"run{seed}", seed=seed, onnx=False) for seed in (1, 2)]
    out = tmp_path / "mean"
    code, stdout, stderr = run("average", *parts, "--out", out)
    assert code == 0, stderr
    assert "guard calibrate" in stdout
    one, two, mean = (load_file(place / WEIGHTS) for place in (*parts, out))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    for name, value in mean.items():
        torch.testing.assert_close(
            value.float(), (one[name].float() + two[name].float()) / 2, atol=2e-3, rtol=1e-3
        )
    manifest = read_manifest(out)
    assert [part["name"] for part in manifest.training["mean_of"]] == [  # type: ignore[attr-defined]
        read_manifest(part).name for part in parts
    ]
    assert not manifest.metrics and not manifest.calibration
    assert "the others are means of weights" in (out / CARD).read_text(encoding="utf-8")
    with Guard.load(out, device="cpu") as guard:
        assert 0 <= guard.check_sync("hello there").score <= 1


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("pooling", "pooling is cls"),
        ("segments", "names or shapes"),
        ("alone", "two or more"),
        ("there", "is there already"),
    ],
)
def test_what_cannot_be_averaged_is_an_error(tmp_path: Path, change: str, wanted: str) -> None:
    """Another pooling, another encoder, a single checkpoint, a directory in use: one line each."""
    first = tiny_checkpoint(tmp_path / "one", onnx=False)
    out = tmp_path / "mean"
    second = {"pooling": {"pooling": "cls"}, "segments": {"segments": 3}}.get(change, {})
    others = [] if change == "alone" else [tiny_checkpoint(tmp_path / "two", onnx=False, **second)]  # type: ignore[arg-type]
    if change == "there":
        out.mkdir()
    code, _, stderr = run("average", first, *others, "--out", out)
    assert code == 2
    assert wanted in stderr
    assert not (out / WEIGHTS).exists()


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TOKENIZER])
def test_a_damaged_part_is_vouched_for_by_no_mean(tmp_path: Path, name: str) -> None:
    """The new manifest would hold the hash of the damage."""
    parts = [tiny_checkpoint(tmp_path / f"run{seed}", seed=seed, onnx=False) for seed in (1, 2)]
    content = bytearray((parts[1] / name).read_bytes())
    content[-3] ^= 0x01
    (parts[1] / name).write_bytes(content)
    code, _, stderr = run("average", *parts, "--out", tmp_path / "mean")
    assert code == 2
    assert f"{parts[1] / name}: the content does not match" in stderr
    assert {file.name for file in tmp_path.iterdir()} == {"run1", "run2"}


def test_weights_that_are_none_are_named(tmp_path: Path) -> None:
    """Even where the manifest lists them so."""
    parts = [tiny_checkpoint(tmp_path / f"run{seed}", seed=seed, onnx=False) for seed in (1, 2)]
    (parts[1] / WEIGHTS).write_bytes(b"no weights at all")
    write_manifest(parts[1], replace(read_manifest(parts[0]), files={}))
    code, _, stderr = run("average", *parts, "--out", tmp_path / "mean")
    assert code == 2
    assert f"{parts[1] / WEIGHTS}: holds no weights" in stderr
    assert {file.name for file in tmp_path.iterdir()} == {"run1", "run2"}


@pytest.mark.parametrize("probe", [None, 1])
def test_a_full_disk_leaves_no_half_a_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: int | None
) -> None:
    """Found out before or on the way: one line that names the place, and nothing there."""
    parts = [tiny_checkpoint(tmp_path / f"run{seed}", seed=seed, onnx=False) for seed in (1, 2)]
    with full_disk(monkeypatch, room=20_000, probe=probe):
        code, _, stderr = run("average", *parts, "--out", tmp_path / "mean")
    assert code == 2
    assert str(tmp_path) in stderr
    assert "(File too large)" in stderr
    assert {file.name for file in tmp_path.iterdir()} == {"run1", "run2"}
