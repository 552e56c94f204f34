"""`guard bench` measures what it says; how fast this machine is, is no test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertguard.bench import latency, peers, texts
from bertguard.bench.bare import feed_of
from bertguard.bench.ceiling import operations_per_token
from bertguard.bench.device import measure_device
from bertguard.bench.http_driver import NUMBER, callers, chat
from bertguard.bench.http_server import guarded_application
from bertguard.bench.parts import DEFAULT, NAMED, PARTS
from bertguard.bench.timed import TimedScorer
from bertguard.bench.training import measure_training
from bertguard.cli import app
from bertguard.guard import Guard
from bertguard.scoring import Window
from support import KeywordScorer

QUICK = ("--rounds", "2", "--seconds", "0.1", "--longest", "10000", "--requests", "40")


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["bench", *arguments])
    return done.exit_code, done.stdout if done.exit_code == 0 else done.output


def measured(part: str, checkpoint: Path) -> list[dict[str, float]]:
    """The rows of one part, of the tiny checkpoint."""
    code, output = run(part, "--checkpoint", str(checkpoint), "--json", *QUICK)
    assert code == 0, output
    results = json.loads(output)
    assert results["machine"]["cores"] >= 1
    rows: list[dict[str, float]] = results[part]
    return rows


def column(rows: Sequence[dict[str, float]], name: str) -> list[float]:
    return [row[name] for row in rows]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--rounds", "0"),
        ("--seconds", "0"),
        ("--seconds", "nan"),
        ("--seconds", "inf"),
        ("--longest", "999"),
        ("--requests", "0"),
        ("--steps", "-1"),
    ],
)
def test_what_measures_nothing_is_refused(option: str, value: str) -> None:
    """Before anything is loaded; the option and a value that works are named."""
    code, output = run("growth", option, value)
    assert code == 2
    assert f"guard: error: {option[2:]}=" in output
    assert "use " in output


# -- the parts -------------------------------------------------------------------------------------


def test_size_counts_what_serving_needs_and_nothing_else() -> None:
    """Weights apart; the light core's packages; no extra, though they are installed here."""
    code, output = run("size", "--json")
    sizes = json.loads(output)["size"]
    assert code == 0
    assert {"weights", "bertguard", "onnxruntime", "tokenizers", "starlette"} <= set(sizes)
    assert not {"torch", "transformers", "pytest"} & set(sizes)
    assert all(size >= 0 for size in sizes.values())


def test_start_is_measured_in_processes_of_its_own() -> None:
    """From the bare interpreter to the first verdict of a server."""
    code, output = run("start", "--rounds", "1", "--json")
    seconds = json.loads(output)["start"]
    assert code == 0
    assert set(seconds) == {"python", "help", "scan", "serve, first verdict", "Guard.load"}
    assert seconds["python"] < seconds["serve, first verdict"]


def test_latency_stands_beside_the_bare_session(checkpoint: Path) -> None:
    """One row per length, with its ratio."""
    rows = measured("latency", checkpoint)
    assert len(rows) == len(latency.TOKENS)
    for row in rows:
        assert row["ratio"] == pytest.approx(row["check_ms"] / row["bare_ms"])


def test_runtimes_stand_beside_what_is_served(checkpoint: Path) -> None:
    """The same weights everywhere; a runtime that cannot be had says why, and the others count."""
    rows = measured("runtimes", checkpoint)
    names = [str(row["runtime"]) for row in rows]
    assert names[:4] == [
        "ONNX Runtime int8 (as served)", "ONNX Runtime fp32", "torch fp32", "torch bf16",
    ]  # fmt: skip
    assert names[4].startswith("torch.compile fp32")
    assert names[5].startswith("OpenVINO")
    assert rows[0]["times"] == 1
    for name, row in zip(names, rows, strict=True):
        assert (str(row["tokens/s"]) == "") == (": " in name)


def test_throughput_stands_beside_the_best_arrangement(checkpoint: Path) -> None:
    """Bare sessions in several arrangements, the guard, the guard over HTTP, and the ceiling."""
    rows = measured("throughput", checkpoint)
    names = [str(row["what"]) for row in rows]
    bare = [row for row in rows if str(row["what"]).startswith("bare")]
    assert len(bare) >= 3
    assert max(column(bare, "share")) == 1
    assert any("Guard.check" in name for name in names)
    assert any("HTTP" in name for name in names)
    assert names[-1].startswith("ceiling")
    assert all(row["tokens_per_s"] > 0 for row in rows)


def test_load_is_open_and_stands_beside_the_idle_guard(checkpoint: Path) -> None:
    """Two mixes idle and loaded, then short prompts without and with a document."""
    rows = measured("load", checkpoint)
    assert len(rows) == 6
    assert all(row["p99_ms"] >= row["p50_ms"] > 0 for row in rows)
    assert rows[4]["p99_ratio"] == 1


def test_the_loop_is_watched_idle_and_under_load(checkpoint: Path) -> None:
    """The idle loop is the yardstick of every other row."""
    rows = measured("loop", checkpoint)
    assert [row["p999_ratio"] > 0 for row in rows] == [True] * 4
    assert rows[0]["p999_ratio"] == 1
    assert all(row["longest_ms"] >= row["p999_ms"] for row in rows)


def test_growth_is_held_against_its_shortest_text(checkpoint: Path) -> None:
    """The first row is its own yardstick."""
    rows = measured("growth", checkpoint)
    assert column(rows, "chars") == [1000, 10000]
    assert rows[0]["ratio"] == 1


def test_a_resent_chat_is_held_against_its_model_time(checkpoint: Path) -> None:
    """What is not tokenized or scored is overhead."""
    rows = measured("chat", checkpoint)
    assert len(rows) == 5
    for row in rows:
        assert row["overhead_ms"] == pytest.approx(row["turn_ms"] - row["new_ms"])
        assert row["overhead_ms"] > 0


def test_memory_of_a_server_from_its_start_on(checkpoint: Path) -> None:
    """A bare interpreter, the server when it listens, when warm, and after its requests."""
    rows = measured("memory", checkpoint)
    assert column(rows, "requests")[-1] == 40
    assert rows[1]["rss_mb"] > rows[0]["rss_mb"] > 0


def test_the_profile_adds_up(checkpoint: Path) -> None:
    """Views, tokenization, model and the rest are the whole."""
    for row in measured("profile", checkpoint):
        shares = [value for name, value in row.items() if name.endswith("%")]
        assert sum(shares) == pytest.approx(100)


def test_a_device_stands_beside_the_cpu_default(checkpoint: Path) -> None:
    """Torch here too, with the share of the matrix product that this device reaches."""
    rows = measure_device(str(checkpoint), "cpu", 0.1, directory=checkpoint)
    assert [str(row["what"]).split(",")[0] for row in rows] == ["the CPU default", "torch", "torch"]
    assert rows[0]["ratio"] == 1
    assert all(float(str(row["of_ceiling"])) > 0 for row in rows[1:])


def test_training_counts_real_tokens_of_the_real_loop(checkpoint: Path) -> None:
    """Padding and waiting are shares; the checkpoint is not written to."""
    before = {file.name: file.stat().st_mtime_ns for file in checkpoint.iterdir()}
    found = measure_training(str(checkpoint), "cpu", 2, batch_tokens=512, seconds=0.1)
    assert float(str(found["tokens_per_s"])) > 0
    assert 0 <= float(str(found["padding_share"])) < 1
    assert 0 < float(str(found["waiting_share"])) < 1
    assert {file.name: file.stat().st_mtime_ns for file in checkpoint.iterdir()} == before


def test_peers_are_built_and_exported_here() -> None:
    """A small one of the same kind: torch and ONNX Runtime, both beside the guard."""
    small = {"small": peers.Architecture(1, 32, 2, 64, vocabulary=100)}
    with Guard(KeywordScorer()) as guard:
        rows = peers.measure_peers(guard, 1, tokens=(16, 40), peers=small)
    assert [row["tokens"] for row in rows] == [16, 40, 16, 40]
    assert all(float(str(row["times"])) > 0 for row in rows)


def test_a_peer_that_cannot_be_exported_says_so() -> None:
    """A reason in the table, and no crash."""
    odd = {"odd": peers.Architecture(1, 30, 4, 64, vocabulary=100)}
    assert "export failed" in peers._exported(odd["odd"], Path("never.onnx"))
    assert not Path("never.onnx").exists()


# -- how it is shown -------------------------------------------------------------------------------


def test_tables_plot_and_unknown_parts(checkpoint: Path, tmp_path: Path) -> None:
    """Plain lines by default, a picture on demand; a part that does not exist is named."""
    picture = tmp_path / "bench.svg"
    code, output = run(
        "latency", "--checkpoint", str(checkpoint), "--rounds", "1", "--plot", str(picture)
    )
    assert code == 0
    assert "ratio" in output
    assert "<svg" in picture.read_text(encoding="utf-8")
    code, output = run("warp")
    assert code == 2
    assert "warp" in output
    code, output = run("size", "--plot", str(picture))
    assert code == 2
    assert "nothing to draw" in output


def test_the_help_names_every_part() -> None:
    """Those that run by default, and those that must be named."""
    code, output = run("--help")
    assert code == 0
    assert set(PARTS) == {*DEFAULT, *NAMED}
    assert all(part in output for part in PARTS)


# -- what they are made of -------------------------------------------------------------------------


def test_the_mix_has_the_lengths_of_the_table() -> None:
    """Half of the texts are shorter than the median, all within the ends; always the same."""
    lengths = sorted(len(text.split()) + 2 for text in texts.mixed_texts(400))
    assert texts.mixed_texts(50) == texts.mixed_texts(50)
    assert texts.length_at(0.5) == dict(texts.QUANTILES)[0.5]
    assert abs(lengths[200] - texts.length_at(0.5)) <= 4
    assert texts.QUANTILES[0][1] <= lengths[0] <= lengths[-1] <= texts.QUANTILES[-1][1]


def test_callers_reach_the_guarded_application(checkpoint: Path) -> None:
    """Each answer is counted, and what is no 200 apart; numbers differ from one to the next."""
    bodies = [chat("hello world"), chat(f"{NUMBER} hello")]
    with (
        guarded_application(str(checkpoint), "cpu") as (port, _),
        callers(port, bodies, count=2) as driver,
    ):
        answered = driver.ask(requests=6)
    assert sum(answered.counts) == 6
    assert 0 <= answered.other <= 6


def test_a_feed_is_padded_and_masked() -> None:
    """Padding is 0 in ids and mask, and has the channel of its row."""
    feed = feed_of([Window((5, 6, 7), 1, 0, 1), Window((5,), 0, 0, 1)])
    assert feed["input_ids"].tolist() == [[5, 6, 7], [5, 0, 0]]
    assert feed["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert feed["token_type_ids"].tolist() == [[1, 1, 1], [0, 0, 0]]


def test_operations_of_an_encoder(tmp_path: Path) -> None:
    """Twice the matrices of the layers; unknown kinds have none."""
    (tmp_path / "config.json").write_text(
        json.dumps({"hidden_size": 2, "num_hidden_layers": 3, "intermediate_size": 5})
    )
    assert operations_per_token(tmp_path) == 2 * 3 * (4 * 4 + 2 * 2 * 5)
    (tmp_path / "config.json").write_text("{}")
    assert operations_per_token(tmp_path) is None


def test_a_timed_scorer_counts_and_changes_nothing() -> None:
    """The same windows and scores, and seconds for both."""
    plain = KeywordScorer()
    timed = TimedScorer(plain)
    windows = list(timed.windows("a few words", "prompt"))
    assert windows == list(plain.windows("a few words", "prompt"))
    assert timed.score(windows) == plain.score(windows)
    assert timed.windows_seconds > 0
    assert timed.score_seconds > 0
    timed.clear()
    assert timed.windows_seconds == timed.score_seconds == 0
