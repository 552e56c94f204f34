"""What `guard train` says of the checkpoint that it wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertguard.model.checkpoint import Manifest


def told(out: Path, manifest: Manifest, *, learnt: int, validated: int) -> Iterator[str]:
    """Lines: rows, those that were left out, and for each channel what was fitted and what kept."""
    yield (
        f"wrote {out}: {learnt:,} rows learnt, {validated:,} validated on; next: "
        f"guard export {out} DATA"
    )
    without: Mapping[str, int] = manifest.training.get("rows_without_tokens", {})  # type: ignore[assignment]  # JSON
    for side, count in without.items():
        yield f"  {count:,} {side} rows hold no token and were left out"
    for channel, (flag_at, block_at) in manifest.thresholds.items():
        found: Mapping[str, Any] = manifest.calibration.get(channel, {})  # type: ignore[assignment]  # JSON
        kept = (
            ""
            if found.get("thresholds_fitted")
            else " (kept: too few benign validation texts; see guard calibrate)"
        )
        yield f"  {channel}: flag at {flag_at:.4f}, block at {block_at:.4f}{kept}"
        temperature = manifest.temperature[channel]
        if not found.get("temperature_fitted"):
            yield (
                f"  {channel}: temperature {temperature:.4g} (kept: fewer than 100 validation "
                "texts of either label)"
            )
        elif found.get("temperature_at_bound"):
            yield (
                f"  {channel}: temperature {temperature:.4g} is the bound of its fit: the "
                "validation texts are too easy or too hard to say how sure the scores should be"
            )
