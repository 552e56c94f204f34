"""Where results are written: looked at before the work, and left without halves where it fails."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from bertguard.errors import CheckpointError, ConfigurationError

# A file system may have room for a name and none for what stands under it.
_PROBE_BYTES = 1 << 16


def must_be_writable(directory: Path, *, told: str = "") -> None:
    """Make a directory and write into it: that this fails should not be found out at the end.

    Args:
        directory: where something will be written.
        told: what an error calls it; `--out` and its path by default.

    Raises:
        ConfigurationError: it cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise ConfigurationError(
            f"{told or f'--out {directory}'}: cannot be written to ({_reason(error)}); name a "
            "directory that can"
        ) from error


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """A disk that is full or read-only becomes an error that names the file.

    Raises:
        CheckpointError: what is done within could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file}: cannot be written ({_reason(error)}); make room there, or name another "
            "directory"
        ) from error


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A directory beside a new one, which becomes it once all is written, and else is removed.

    Raises:
        ConfigurationError: `out` is there already, or cannot be written beside.
        CheckpointError: it could not be moved to its place.
    """
    if out.exists():
        raise ConfigurationError(f"{out}: is there already; name a new directory")
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)  # a run that was killed left it
    try:
        must_be_writable(beside, told=f"--out {out}")
        yield beside
        with writing(out):
            beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _reason(error: OSError | SafetensorError) -> str:
    if isinstance(error, shutil.Error):  # of a whole tree: (from, to, why) of each file
        return str(error.args[0][0][2])
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    # It says "Error while serializing: I/O error: No space left on device (os error 28)".
    return str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]
