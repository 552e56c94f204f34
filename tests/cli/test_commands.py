"""The command line as a whole: light, lazy, and one line per error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertguard import __version__
from bertguard.cli import COMMANDS, app


def guard(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "bertguard", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_lists_every_command_and_loads_none() -> None:
    """`guard --help` names them and imports neither their modules nor a model runtime."""
    code = (
        "import sys; from bertguard.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'onnxruntime', 'numpy', 'starlette', 'httpx', 'rich.table')\n"
        "print([n for n in heavy if n in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_the_first_line_of_the_help(name: str) -> None:
    """The table of commands and each command's own help say the same."""
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert COMMANDS[name] in " ".join(done.stdout.split())


def test_the_version_is_printed() -> None:
    """`guard --version` names the package and its version."""
    assert CliRunner().invoke(app, ["--version"]).stdout.strip() == f"bertguard {__version__}"


def test_an_error_is_one_line_and_code_2(tmp_path: Path) -> None:
    """A GuardError anywhere is no traceback."""
    done = guard("scan", "--checkpoint", str(tmp_path), "hello")
    assert done.returncode == 2
    assert done.stderr.startswith("guard: error: ")
    assert done.stderr.count("\n") == 1
    assert "guard.json" in done.stderr


def test_an_unknown_command_is_a_usage_error() -> None:
    """Exit code 2 and the name."""
    done = guard("guess")
    assert done.returncode == 2
    assert "guess" in done.stderr
