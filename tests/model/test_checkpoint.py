"""A checkpoint directory is whole or refused, and the error names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bertguard.errors import CheckpointError, ConfigurationError
from bertguard.model.checkpoint import MANIFEST, Manifest, read_manifest
from bertguard.model.loading import load_scorer


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def test_a_manifest_survives_writing_and_reading(checkpoint: Path) -> None:
    """What was written is what is read, thresholds and labels included."""
    manifest = read_manifest(checkpoint)
    assert Manifest.from_json(manifest.to_json(), checkpoint) == manifest
    assert manifest.thresholds["data"] == (0.4, 0.8)
    assert manifest.labels[manifest.injection_index] == "injection"


def edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        document = json.loads((directory / MANIFEST).read_text())
        change(document)
        (directory / MANIFEST).write_text(json.dumps(document))

    return apply


def truncate(name: str) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[: len(content) // 2])

    return apply


def flip(name: str) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        content = bytearray((directory / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (directory / name).write_bytes(content)

    return apply


def test_a_manifest_of_the_first_format_has_scores_of_even_odds(copy: Path) -> None:
    """It says no prior; what it decided before it decides now."""
    before = read_manifest(copy)
    edit(lambda m: (m.pop("prior"), m.update(format_version=1)))(copy)
    assert read_manifest(copy) == before
    assert before.prior == 0.5


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: (d / MANIFEST).unlink(), "guard.json: cannot be read"),
        (truncate(MANIFEST), "guard.json: not valid JSON"),
        (edit(lambda m: m.update(format="other")), "no bertguard checkpoint"),
        (edit(lambda m: m.update(format_version=99)), "format_version is 99"),
        (edit(lambda m: m.pop("labels")), "guard.json: a field is missing"),
        (edit(lambda m: m.update(temperature={"prompt": 0, "data": 1})), "cannot be"),
        (edit(lambda m: m.update(thresholds={})), "cannot be"),
        (edit(lambda m: m.update(prior=1)), "cannot be"),
        (lambda d: (d / "model.safetensors").unlink(), "model.safetensors: is missing"),
        (truncate("model.safetensors"), "model.safetensors: holds"),
        (truncate("model.int8.onnx"), "model.int8.onnx: holds"),
        (flip("model.int8.onnx"), "model.int8.onnx: the content does not match"),
        (flip("tokenizer.json"), "tokenizer.json: the content does not match"),
    ],
)
def test_damage_is_found_and_the_file_named(
    copy: Path, damage: Callable[[Path], None], words: str
) -> None:
    """Truncated, foreign, newer, incomplete or altered: a CheckpointError with the file's name."""
    damage(copy)
    with pytest.raises(CheckpointError, match=words):
        load_scorer(copy)


def test_altered_weights_are_found_by_the_torch_backend(copy: Path) -> None:
    """The same holds for the weights that only torch reads."""
    flip("model.safetensors")(copy)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the content"):
        load_scorer(copy, backend="torch")


def test_no_such_directory_is_named(tmp_path: Path) -> None:
    """A path that is not there is no hub id by accident."""
    with pytest.raises(CheckpointError, match="no such directory"):
        load_scorer(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("labels", "benign", "injection"),
    [
        (("benign", "injection"), 0, 1),
        (("INJECTION", "Benign"), 1, 0),
        (("jailbreak", "benign"), 1, 0),
        (("injection", "ordinary"), 1, 0),
        (("no", "yes"), 0, 1),
        (("JAILBREAK", "BENIGN", "INJECTION"), 1, 2),
    ],
)
def test_labels_are_found_by_their_names(
    checkpoint: Path, labels: tuple[str, ...], benign: int, injection: int
) -> None:
    """Whatever their case and order; of two, one name tells the other."""
    manifest = replace(read_manifest(checkpoint), labels=labels)
    assert (manifest.benign_index, manifest.injection_index) == (benign, injection)


def test_of_more_than_two_labels_none_is_guessed(checkpoint: Path) -> None:
    """Any class but the last was benign, and every class that is no injection may be an attack."""
    manifest = replace(read_manifest(checkpoint), labels=("benign", "jailbreak", "leak"))
    with pytest.raises(ConfigurationError, match=r"guard\.json: tiny: 3 labels, none of them"):
        Manifest.from_json(manifest.to_json(), checkpoint / MANIFEST)
    manifest = replace(manifest, labels=("ordinary", "jailbreak", "injection"))
    with pytest.raises(ConfigurationError, match="called benign"):
        _ = Manifest.from_json(manifest.to_json(), checkpoint / MANIFEST).benign_index
