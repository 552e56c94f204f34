"""`guard calibrate` makes one false alarm in a hundred true of the user's own traffic."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertguard import Guard
from bertguard.cli import app
from bertguard.errors import CheckpointError
from bertguard.model.checkpoint import CARD, WEIGHTS, read_manifest
from bertguard.scoring import Window
from bertguard.training.calibration import at_prior
from bertguard.training.card import model_card
from bertguard.training.examples import Example
from bertguard.training.thresholds import fit_thresholds
from disk import full_disk
from support import BENIGN, KeywordScorer
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


def test_the_model_card_says_the_rates_that_were_asked_for(
    checkpoint: Path, traffic: Path, tmp_path: Path
) -> None:
    """Not those of training; the channel that was left alone keeps its own."""
    own = Path(shutil.copytree(checkpoint, tmp_path / "own"))
    assert "flag_at lets through 99% and block_at 99.9% of" in model_card(read_manifest(own))
    options = ("--flag-rate", "0.05", "--block-rate", "0.025", "--device", "cpu")
    assert run("calibrate", own, traffic, *options)[0] == 0
    card = model_card(read_manifest(own))
    assert "in channel prompt flag_at lets through 95% and block_at 97.5%, in channel data" in card


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_scores_for_other_traffic_decide_nothing_otherwise(
    checkpoint: Path, traffic: Path, tmp_path: Path, backend: str
) -> None:
    """`--prior` moves scores and thresholds together, of the channel without benign texts too."""
    plain, rare = tmp_path / "plain", tmp_path / "rare"
    options = ("--flag-rate", "0.2", "--block-rate", "0.05", "--device", "cpu")
    assert run("calibrate", checkpoint, traffic, "--out", plain, *options)[0] == 0
    code, out, _ = run("calibrate", checkpoint, traffic, "--out", rare, *options, "--prior", "0.02")
    assert code == 0
    assert "a share of 0.02 injections, not 0.5" in out
    manifest = read_manifest(rare)
    assert f"prompt: flag at 0.5000 -> {manifest.thresholds['prompt'][0]:.4f}" in out
    assert manifest.thresholds["data"] == pytest.approx((0.013423, 0.075472), abs=1e-6)
    assert "a share of 0.02 of the texts" in model_card(manifest)
    texts = [json.loads(line)["text"] for line in traffic.read_text().splitlines()]
    actions = set()
    with (
        Guard.load(plain, device="cpu", backend=backend) as before,
        Guard.load(rare, device="cpu", backend=backend) as after,
    ):
        for text in texts:
            for channel in ("prompt", "data"):
                one, other = before.check_sync(text, channel), after.check_sync(text, channel)
                assert other.action is one.action
                assert other.score == pytest.approx(at_prior(one.score, 0.5, 0.02), abs=1e-5)
                actions.add(one.action)
    assert len(actions) == 3


def test_a_prior_is_a_share(checkpoint: Path, traffic: Path) -> None:
    """Where everything or nothing is an injection no text says anything."""
    for prior in ("0", "1", "7", "1e-05", "nan"):
        code, _, stderr = run("calibrate", checkpoint, traffic, "--prior", prior)
        assert (code, f"--prior {prior} is no share" in stderr) == (2, True)


def test_thresholds_of_easy_traffic_stay_at_one_half() -> None:
    """As in training: a text that is no likelier an injection than any other raises no flag."""

    class Calm(KeywordScorer):
        def score(self, windows: Sequence[Window]) -> Sequence[float]:
            return [0.3 if window.end > 60 else 0.1 for window in windows]

    rows = [Example(f"{BENIGN} {n}", 0) for n in range(998)] + [Example(BENIGN * 9, 0)] * 2
    with Guard(Calm()) as guard:
        fitted = fit_thresholds(guard, rows, prior=0.5)
        few = fit_thresholds(guard, rows[-200:], prior=0.5)
    assert (fitted["prompt"].flag_at, fitted["prompt"].block_at) == (0.5, 0.65)
    # Two hundred texts say nothing of one in a thousand: that threshold is the scorer's own.
    assert (few["prompt"].flag_at, few["prompt"].block_at) == (0.5, 0.9)


def test_weights_that_were_damaged_before_are_not_vouched_for(
    checkpoint: Path, traffic: Path, tmp_path: Path
) -> None:
    """The hashes of files that calibrate did not write stay, so that the damage is still found."""
    own = Path(shutil.copytree(checkpoint, tmp_path / "own"))
    content = bytearray((own / WEIGHTS).read_bytes())
    content[-1] ^= 0xFF
    (own / WEIGHTS).write_bytes(content)
    assert run("calibrate", own, traffic, "--device", "cpu")[0] == 0
    with pytest.raises(CheckpointError, match="does not match"):
        Guard.load(own, backend="torch", device="cpu")


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
        ((checkpoint, traffic, "--out", out, "--flag-rate", "0.7"), "flag_rate=0.7"),
        ((checkpoint, traffic, "--out", out, "--flag-rate", "nan"), "flag_rate=nan"),
        (("bundled", traffic), "--out"),
        ((checkpoint, traffic, "--out", tmp_path), "is there already"),
    ):
        code, _, stderr = run("calibrate", *arguments)
        assert code == 2
        assert words in stderr
        assert "scoring" not in stderr  # found out before the work, not after it
    assert not out.exists()


def test_a_place_that_cannot_be_written_to_is_found_out_before_the_scoring(
    checkpoint: Path, traffic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy below a file, and a checkpoint in place on a full disk."""
    (tmp_path / "file").write_text("")
    code, _, stderr = run("calibrate", checkpoint, traffic, "--out", tmp_path / "file" / "mine")
    assert code == 2
    assert f"--out {tmp_path}/file/mine: cannot be written to (Not a directory)" in stderr
    own = Path(shutil.copytree(checkpoint, tmp_path / "own"))
    with full_disk(monkeypatch, room=20_000):
        code, _, told = run("calibrate", own, traffic)
    assert code == 2
    assert f"{own}: cannot be written to (File too large)" in told
    assert "scoring" not in stderr + told


def test_a_copy_that_finds_no_room_is_not_left_half(
    checkpoint: Path, traffic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_disk(monkeypatch, room=20_000, probe=1):
        code, _, stderr = run("calibrate", checkpoint, traffic, "--out", tmp_path / "mine")
    assert code == 2
    assert f"{tmp_path}/mine: cannot be written" in stderr
    assert {file.name for file in tmp_path.iterdir()} == {traffic.name}
