"""`guard bench` measures what it says; how fast this machine is, is no test."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from bertguard.bench import speed
from bertguard.cli import app


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["bench", *arguments])
    return done.exit_code, done.output


def test_size_counts_what_serving_needs_and_nothing_else() -> None:
    """Weights apart; the light core's packages; no extra, though they are installed here."""
    code, output = run("size", "--json")
    sizes = json.loads(output)["size"]
    assert code == 0
    assert {"weights", "bertguard", "onnxruntime", "tokenizers", "starlette"} <= set(sizes)
    assert not {"torch", "transformers", "pytest"} & set(sizes)
    assert all(size >= 0 for size in sizes.values())


def test_latency_throughput_and_growth_of_any_checkpoint(checkpoint: Path) -> None:
    """Every row has its yardstick; the first of growth is its own."""
    code, output = run(
        "latency", "throughput", "growth", "--checkpoint", str(checkpoint), "--json",
        "--rounds", "2", "--seconds", "0.2", "--longest", "10000",
    )  # fmt: skip
    results = json.loads(output)
    assert code == 0
    assert len(results["latency"]) == len(speed.TOKENS)
    assert all(row["ratio"] > 0 for row in results["latency"])
    assert results["throughput"]["bare"] > 0
    assert [row["chars"] for row in results["growth"]] == [1000, 10000]
    assert results["growth"][0]["ratio"] == 1


def test_tables_and_unknown_parts(checkpoint: Path) -> None:
    """Plain lines by default; a part that does not exist is named."""
    code, output = run("latency", "--checkpoint", str(checkpoint), "--rounds", "1")
    assert code == 0
    assert "ratio" in output
    code, output = run("warp")
    assert code == 2
    assert "warp" in output


def test_start_is_measured_in_processes_of_its_own() -> None:
    """From the bare interpreter to the first verdict of a server."""
    code, output = run("start", "--rounds", "1", "--json")
    seconds = json.loads(output)["start"]
    assert code == 0
    assert set(seconds) == {"python", "help", "scan", "serve, first verdict"}
    assert seconds["python"] < seconds["serve, first verdict"]
