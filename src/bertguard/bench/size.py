"""How much lies on the disk."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)")


def measure_size() -> dict[str, float]:
    """Megabytes (10^6 bytes) on the disk of bertguard and everything that it requires, by part.

    The weights of the bundled checkpoint stand apart as `weights`. Extras are not counted, even
    where they are installed.
    """
    sizes: dict[str, float] = {}
    waiting = ["bertguard"]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        seen.add(key)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # a requirement of another platform or Python
        if key != "bertguard":
            files = [file.locate() for file in found.files or ()]
            sizes[key] = sum(f.stat().st_size for f in map(_path, files) if f.is_file()) / 1e6
        for requirement in found.requires or ():
            wanted = _REQUIREMENT.match(requirement)
            if wanted and "extra ==" not in requirement:
                waiting.append(wanted[1])
    code, weights = _own_size()
    return {"weights": weights, "bertguard": code} | dict(
        sorted(sizes.items(), key=lambda item: -item[1])
    )


def _own_size() -> tuple[float, float]:
    # Walked, since an editable installation lists no files.
    root = Path(__file__).parent.parent
    code = weights = 0
    for file in root.rglob("*"):
        if file.is_file() and file.suffix != ".pyc":
            if file.suffix in (".onnx", ".safetensors"):
                weights += file.stat().st_size
            else:
                code += file.stat().st_size
    return code / 1e6, weights / 1e6


def _path(place: object) -> Path:
    return Path(str(place))
