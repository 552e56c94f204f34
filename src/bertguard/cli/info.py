"""`guard info`: what a checkpoint is, and what this machine can run it on."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

# Distributions whose presence decides which backend can run.
_BACKENDS = {"onnx": ("onnxruntime",), "torch": ("torch", "transformers")}
# A line such as `torch>=2.4; extra == 'train'` or `bertguard[torch]; extra == 'train'`, as the
# package's metadata has it.
_EXTRA = re.compile(
    r"""(?P<name>[\w.-]+)(?:\[(?P<others>[\w, -]+)\])?.*;.*extra == ['"](?P<extra>[\w-]+)['"]"""
)
# What developers of the package install is no feature that a user could miss.
_NOT_FOR_USERS = "test"


def command(
    *,
    checkpoint: Annotated[
        str | None, typer.Option(help="A checkpoint directory, or bundled (the default).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Describe a checkpoint and this machine's backends.

    Exit code: 0, or 2 where the checkpoint cannot be read or a file of it is damaged (SHA-256); the
    machine is described all the same.
    """
    from bertguard import __version__
    from bertguard.errors import CheckpointError, ConfigurationError

    facts: dict[str, object] = {"bertguard": __version__, "python": platform.python_version()}
    failure: CheckpointError | ConfigurationError | None = None
    try:
        facts["checkpoint"] = _checkpoint(checkpoint)
    except (CheckpointError, ConfigurationError) as error:
        failure = error
        facts["checkpoint"] = {"error": str(error)}
    facts["backends"] = {name: _versions(names) for name, names in _BACKENDS.items()}
    facts["devices"] = _devices()
    facts["extras"] = _extras()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print(facts)
    if failure is not None:
        raise failure


def _checkpoint(checkpoint: str | None) -> dict[str, object]:
    """The manifest's facts, the directory, and which files of the list are there."""
    from dataclasses import asdict

    from bertguard.model.checkpoint import BUNDLED, read_manifest, verified
    from bertguard.model.loading import find_checkpoint

    directory = find_checkpoint(checkpoint)
    manifest = read_manifest(directory)
    for name in manifest.files:
        verified(directory, name, manifest)
    facts = asdict(manifest)
    thresholds: Mapping[str, tuple[float, float]] = facts["thresholds"]
    facts["thresholds"] = {
        channel: {"flag_at": flag_at, "block_at": block_at}
        for channel, (flag_at, block_at) in thresholds.items()
    }
    place = "bundled" if directory == BUNDLED else str(directory)
    return {"place": place, **facts}


def _versions(names: tuple[str, ...]) -> dict[str, str | None]:
    """Installed versions, read from metadata: importing torch to ask would take seconds."""
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _extras() -> dict[str, str]:
    """Each extra of the package, and which of its distributions are not here."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        wanted = [found for line in requires("bertguard") or () if (found := _EXTRA.match(line))]
    except PackageNotFoundError:  # run from a checkout that nobody installed
        return {}
    extras: dict[str, list[re.Match[str]]] = {}
    for found in wanted:
        extras.setdefault(found["extra"], []).append(found)

    def names(extra: str) -> Iterator[str]:
        for found in extras.get(extra, ()):
            if found["name"] != "bertguard":
                yield found["name"]
            for other in (found["others"] or "").split(","):
                yield from names(other.strip())

    missing = {
        extra: [name for name, version in _versions(tuple(names(extra))).items() if not version]
        for extra in sorted(extras)
        if extra != _NOT_FOR_USERS
    }
    return {
        extra: f"not installed: {', '.join(those)}" if those else "installed"
        for extra, those in missing.items()
    }


def _devices() -> list[dict[str, str]]:
    """What `--device` can name here; beyond the CPU only torch knows."""
    from importlib.util import find_spec

    devices = [{"device": "cpu", "name": platform.processor() or platform.machine()}]
    if find_spec("torch") is None:
        return devices
    import torch

    for number in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(number)
        devices.append({"device": f"cuda:{number}", "name": name})
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple GPU"})
    return devices


def _print(facts: Mapping[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(facts):
        table.add_row(name, Text(value))
    Console().print(table)


def _lines(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """A nested document as `name` and value, one fact a line."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _lines(inner, f"{name} {key}".strip())
    elif isinstance(value, list | tuple) and any(
        isinstance(inner, Mapping | list)
        for item in value
        if isinstance(item, Mapping)
        for inner in item.values()
    ):
        yield name, f"{len(value)} of them; all with --json"
    elif isinstance(value, list | tuple):
        flat = (
            ", ".join(map(str, item.values())) if isinstance(item, Mapping) else str(item)
            for item in value
        )
        yield name, "; ".join(flat)
    elif isinstance(value, float):
        yield name, f"{value:.6g}"
    elif value is None:
        yield name, "not installed" if name.startswith("backends") else "none"
    else:
        yield name, str(value)
