"""`guard calibrate` makes one false alarm in a hundred true of the user's own traffic."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertguard import Guard
from bertguard.cli import app
from bertguard.model.checkpoint import CARD, read_manifest
from bertguard.training.saving import model_card
from tiny import WORDS


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    """400 benign prompts that a tiny model scores all over the place, and injections to skip."""
    file = tmp_path / "traffic.jsonl"
    rows = [
        {"text": f"{WORDS[n % len(WORDS)]} {WORDS[n * 7 % len(WORDS)]} {n}", "label": int(n >= 400)}
        for n in range(440)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_the_rates_hold_on_the_traffic_that_they_were_fitted_to(
    checkpoint: Path, traffic: Path, tmp_path: Path
) -> None:
    """At most 5% flagged and 1% blocked; the other channel and the original stay as they are."""
    before = read_manifest(checkpoint)
    out = tmp_path / "mine"
    code, stdout, stderr = run(
        "calibrate", checkpoint, traffic, "--out", out, "--flag-rate", "0.05", "--block-rate",
        "0.01", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, stderr
    assert "from 400 benign texts" in stdout
    assert "data: too few benign texts" in stdout
    after = read_manifest(out)
    assert read_manifest(checkpoint) == before
    assert after.thresholds["data"] == before.thresholds["data"]
    assert after.calibration["prompt"]["benign_texts"] == 400  # type: ignore[index]  # JSON
    texts = [json.loads(line)["text"] for line in traffic.read_text().splitlines()[:400]]
    with Guard.load(out, device="cpu") as guard:
        verdicts = [guard.check_sync(text) for text in texts]
    flagged = sum(verdict.action != "allow" for verdict in verdicts)
    assert 15 <= flagged <= 20
    assert sum(verdict.action == "block" for verdict in verdicts) <= 4


def test_the_model_card_says_the_thresholds_unless_somebody_wrote_on_it(
    checkpoint: Path, traffic: Path, tmp_path: Path
) -> None:
    """A generated card follows the manifest; any other is left alone."""
    own = tmp_path / "own"
    shutil.copytree(checkpoint, own)
    card = own / CARD
    card.write_text(model_card(read_manifest(own)), encoding="utf-8")
    assert run("calibrate", own, traffic, "--device", "cpu")[0] == 0
    assert card.read_text("utf-8") == model_card(read_manifest(own))
    card.write_text("# Mine", encoding="utf-8")
    assert run("calibrate", own, traffic, "--device", "cpu")[0] == 0
    assert card.read_text("utf-8") == "# Mine"


def test_too_little_and_impossible_are_errors(
    checkpoint: Path, traffic: Path, tmp_path: Path
) -> None:
    """Few texts, a rate that cannot be, the bundled checkpoint in place, a directory in the way."""
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(traffic.read_text().splitlines()[:20]) + "\n")
    out = tmp_path / "out"
    for arguments, words in (
        ((checkpoint, few, "--out", out), "20 benign texts"),
        ((checkpoint, traffic, "--out", out, "--block-rate", "0.5"), "block_rate=0.5"),
        (("bundled", traffic), "--out"),
        ((checkpoint, traffic, "--out", tmp_path), "is there already"),
    ):
        code, _, stderr = run("calibrate", *arguments)
        assert code == 2
        assert words in stderr
    assert not out.exists()
