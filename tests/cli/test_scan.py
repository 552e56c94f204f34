"""`guard scan` as a shell sees it: exit codes, JSON, standard input, and no prompt shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertguard import Guard
from bertguard.cli import app
from support import ATTACK, BENIGN, KeywordScorer


@pytest.fixture(autouse=True)
def keyword_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keyword scorer instead of a checkpoint: these tests are about the command."""
    monkeypatch.setattr(Guard, "load", classmethod(lambda cls, *a, **k: cls(KeywordScorer())))


def scan(*arguments: str, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["scan", *arguments], input=stdin)
    return done.exit_code, done.stdout, done.stderr


def test_exit_codes_tell_clean_from_injection() -> None:
    """0 and 1, for a script's `if`."""
    assert scan(BENIGN)[0] == 0
    assert scan(ATTACK)[0] == 1


def test_the_output_holds_no_prompt() -> None:
    """Where and how sure, never what."""
    code, out, err = scan(f"Hello!\n{ATTACK}")
    assert code == 1
    assert "lines 1 to 2 (characters 0 to" in " ".join(out.replace("│", " ").split())
    assert "block" in out
    assert "previous" not in out + err


def test_json_is_one_object_per_input(tmp_path: Path) -> None:
    """Machine-readable verdicts with offsets into the original."""
    file = tmp_path / "page.txt"
    file.write_text(f"{BENIGN}\n{ATTACK}")
    code, out, _ = scan("--json", "-f", str(file), BENIGN)
    clean, hit = (json.loads(line) for line in out.splitlines())
    assert code == 1
    assert (clean["source"], clean["action"]) == ("argument", "allow")
    assert (hit["source"], hit["action"]) == (str(file), "block")
    finding = hit["findings"][0]
    assert ATTACK in file.read_text()[finding["start"] : finding["end"]]


def test_the_name_of_a_file_is_scored_as_a_text_and_said_to_be_one(tmp_path: Path) -> None:
    """`guard scan page.txt` in a script would otherwise pass whatever the page holds."""
    file = tmp_path / "page.txt"
    file.write_text(ATTACK)
    code, _, err = scan(str(file))
    assert code == 0
    assert "use --file" in err
    assert scan(BENIGN)[2] == ""


def test_standard_input_is_read() -> None:
    """A pipe is an input like any other, whole."""
    assert scan(stdin=f"{'word ' * 5000}{ATTACK}")[0] == 1
    assert scan("-", stdin=BENIGN)[0] == 0


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Exit code 2 and the reason; the other files are still scored."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfa\x00")
    (tmp_path / "ok").write_text(BENIGN)
    code, out, err = scan("--json", "-f", str(tmp_path / "binary"), "-f", str(tmp_path / "ok"))
    assert code == 2
    assert "is not UTF-8" in err
    assert json.loads(out.splitlines()[1])["action"] == "allow"
    assert scan("-f", str(tmp_path / "nowhere"))[0] == 2


def test_the_channel_is_checked() -> None:
    """An unknown channel is a usage error that names both."""
    code, _, err = scan("--channel", "tool", BENIGN)
    assert code == 2
    assert "prompt" in err
