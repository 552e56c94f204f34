"""`guard info` tells what a bug report needs."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertguard import __version__
from bertguard.cli import app
from bertguard.model.checkpoint import CONFIG, TOKENIZER, WEIGHTS


def test_it_names_checkpoint_backends_and_devices(checkpoint: Path) -> None:
    """Version, thresholds, runtimes and devices as one JSON object."""
    done = CliRunner().invoke(app, ["info", "--checkpoint", str(checkpoint), "--json"])
    facts = json.loads(done.stdout)
    assert done.exit_code == 0
    assert facts["bertguard"] == __version__
    assert facts["checkpoint"]["thresholds"]["data"] == {"flag_at": 0.4, "block_at": 0.8}
    assert facts["backends"]["onnx"]["onnxruntime"]
    assert facts["devices"][0]["device"] == "cpu"


def test_it_names_what_every_extra_misses(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All extras of the package, from its metadata, each with the distributions not here."""
    there = metadata.version

    def version(name: str) -> str:
        if name in ("httpx2", "pyarrow", "transformers"):
            raise metadata.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(metadata, "version", version)
    done = CliRunner().invoke(app, ["info", "--checkpoint", str(checkpoint), "--json"])
    extras = json.loads(done.stdout)["extras"]
    assert set(extras) == {"bench", "httpx2", "telemetry", "torch", "train"}
    assert extras["httpx2"] == "not installed: httpx2"
    # Train needs all of torch as well.
    assert extras["train"] == "not installed: pyarrow, transformers"
    assert extras["torch"] == "not installed: transformers"


def test_without_a_checkpoint_the_machine_is_described_all_the_same(tmp_path: Path) -> None:
    """The error is reported, with exit code 2, after the facts."""
    done = CliRunner().invoke(app, ["info", "--checkpoint", str(tmp_path)])
    assert done.exit_code == 2
    assert "onnxruntime" in done.stdout
    assert "guard.json" in done.stderr


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TOKENIZER])
def test_a_damaged_file_is_found(checkpoint: Path, tmp_path: Path, name: str) -> None:
    """Of the same size, so that only its hash can tell."""
    own = Path(shutil.copytree(checkpoint, tmp_path / "own"))
    content = bytearray((own / name).read_bytes())
    content[-3] ^= 0x01
    (own / name).write_bytes(content)
    done = CliRunner().invoke(app, ["info", "--checkpoint", str(own)])
    assert done.exit_code == 2
    assert "onnxruntime" in done.stdout
    assert f"{name}: the content does not match" in done.stderr
