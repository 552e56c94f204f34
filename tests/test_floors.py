"""The floor plan: doors open downward only, and the light core loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "bertguard"

# Room -> the rooms it may open a door to, at module level (README, "How it is built").
GROUND = {"errors", "segments", "scoring"}
STATE = GROUND | {"verdict", "policy"}
WIRE = {"errors", "segments", "verdict", "wire"}
FINDINGS = STATE | {"views", "waiting", "batching", "memory"}
WALK = FINDINGS | {"wire", "findings", "walk"}
GUARD = WALK | {"watching", "guard"}
MODEL = {"errors", "scoring", "model"}
FLOORS: dict[str, set[str]] = {
    "errors": set(),
    "segments": set(),
    "scoring": set(),
    "verdict": STATE,
    "policy": STATE,
    "waiting": STATE | {"waiting"},
    "watching": STATE,
    "batching": STATE | {"waiting", "batching"},
    "views": GROUND | {"views"},
    "wire": WIRE,
    "memory": STATE,
    "findings": FINDINGS,
    "walk": WALK,
    "guard": GUARD,
    "edge": GUARD,
    "model": MODEL,
    "middleware": GUARD | {"edge", "middleware"},
    "client": GUARD | {"edge", "client"},
    "server": GUARD | {"edge", "middleware", "client", "server"},
    "training": {"errors", "scoring", "views", "model", "training"},
    "bench": GUARD | {"bench"},
    "cli": {"cli"},
    "__init__": set(),
    "__main__": {"cli"},
}
# What measures is held against what is served, so it stands on the guard.
MEASURING = ("evaluation", "thresholds.py")
EVALUATION = FLOORS["training"] | GUARD
HEAVY = ("torch", "transformers", "starlette", "httpx", "onnxruntime", "tokenizers", "numpy")


def modules() -> list[Path]:
    return sorted(file for file in SOURCE.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """Top-level modules imported when the file is imported: not in functions, not for types."""
    found: set[str] = set()

    def visit(statements: list[ast.stmt]) -> None:
        for node in statements:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: a relative import hides its floor"
                module = node.module or ""
                found.update(
                    f"{module}.{alias.name}" if module == "bertguard" else module
                    for alias in node.names
                )
            elif isinstance(node, ast.If):
                if "TYPE_CHECKING" not in ast.dump(node.test):
                    visit(node.body)
                visit(node.orelse)
            elif isinstance(node, ast.Try):
                visit([*node.body, *node.orelse, *node.finalbody])
            elif isinstance(node, ast.ClassDef | ast.With):
                visit(node.body)

    visit(ast.parse(file.read_text(encoding="utf-8")).body)
    return found


@pytest.mark.parametrize("file", modules(), ids=lambda f: str(f.relative_to(SOURCE)))
def test_doors_open_downward_only(file: Path) -> None:
    """A module imports only from rooms on its floor or below."""
    allowed = FLOORS[room(file)]
    inside = file.relative_to(SOURCE).parts
    if inside[0] == "training" and inside[1] in MEASURING:
        allowed = EVALUATION
    ours = {name.split(".")[1] for name in imports(file) if name.startswith("bertguard.")}
    assert ours <= allowed, f"{file.name} opens a door upward: {ours - allowed}"


@pytest.mark.parametrize(
    "name", ["tokenization.py", "onnx_scorer.py", "checkpoint.py", "loading.py"]
)
def test_serving_needs_no_torch(name: str) -> None:
    """What serves from the light core imports no part of torch."""
    heavy = {module.split(".")[0] for module in imports(SOURCE / "model" / name)}
    assert not heavy & {"torch", "transformers", "safetensors"}


def loaded_by(statement: str) -> set[str]:
    """Names of the heavy packages that a fresh interpreter holds after a statement."""
    code = f"import sys; {statement}; print(*(n for n in {HEAVY!r} if n in sys.modules))"
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import bertguard` is free; so is the command line."""
    assert loaded_by("import bertguard") == set()
    assert loaded_by("import bertguard.cli") == set()


def test_each_edge_loads_its_own_library_only() -> None:
    """The middleware brings no model, the core no torch."""
    assert loaded_by("from bertguard import GuardMiddleware") <= {"starlette"}
    assert loaded_by("from bertguard import Guard") == set()
    serving = "import bertguard.server.app, bertguard.cli.serve, bertguard.model.onnx_scorer"
    assert not loaded_by(serving) & {"torch", "transformers"}


def test_every_public_name_is_there() -> None:
    """The front door names what the README shows."""
    import bertguard

    for name in bertguard.__all__:
        assert getattr(bertguard, name) is not None
    assert {"Guard", "GuardMiddleware", "guarded_client", "Policy", "Verdict"} <= set(
        bertguard.__all__
    )
