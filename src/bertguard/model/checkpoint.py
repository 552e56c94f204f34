"""A checkpoint directory: what is in it, how it is written, and what is refused.

    config.json           the encoder's architecture (transformers)
    tokenizer.json        the tokenizer (tokenizers)
    model.safetensors     encoder and head, fp16 or fp32
    guard.json            the manifest: everything else that scoring needs, and where it came from
    model.int8.onnx       optional: the same model for the CPU (ONNX Runtime)
    README.md             the model card

No pickles and no code. Reading needs the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Self

from bertguard.errors import CheckpointError, ConfigurationError

FORMAT = "bertguard"
FORMAT_VERSION = 2
# The first said no prior: its scores are those of one half.
_READ_VERSIONS = (1, 2)

MANIFEST = "guard.json"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
WEIGHTS = "model.safetensors"
ONNX_INT8 = "model.int8.onnx"
ONNX_FP32 = "model.fp32.onnx"
CARD = "README.md"

BUNDLED = Path(__file__).parent / "bundled"

# What the manifest holds size and hash of.
_LISTED = (CONFIG, TOKENIZER, WEIGHTS, ONNX_INT8)


@dataclass(frozen=True, slots=True)
class Manifest:
    """`guard.json`: what turns encoder weights into a guard.

    `channel` is `token_type_ids` where the encoder is told prompt from data, `ignored` where it
    has a single segment embedding. `temperature` divides the logits, per channel, before softmax
    (Guo et al. 2017, https://arxiv.org/abs/1706.04599). `prior` is the share of injections in the
    traffic that scores are probabilities for: models learn from as many injections as benign
    texts, and where attacks are rarer the same evidence makes one less likely (Saerens et al. 2002,
    https://doi.org/10.1162/089976602753284446). `thresholds` are per channel `(flag_at, block_at)`
    on the resulting P(injection). `files` holds size in bytes and SHA-256 of every other file, so
    that a truncated or exchanged one is found.
    """

    name: str
    base: str
    pooling: str
    dropout: float
    labels: tuple[str, ...]
    window_tokens: int
    overlap_tokens: int
    channel: Literal["token_type_ids", "ignored"]
    cls_id: int
    sep_id: int
    pad_id: int
    temperature: Mapping[str, float]
    thresholds: Mapping[str, tuple[float, float]]
    calibration: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    prior: float = 0.5

    @property
    def log_prior_odds(self) -> float:
        """What is added to the logit of injections, after temperature: 0 at one half."""
        return math.log(self.prior / (1 - self.prior))

    @property
    def injection_index(self) -> int:
        """Which logit is P(injection): the label named so; of two others, not benign or the last.

        Raises:
            ConfigurationError: there are more than two labels, and none is named so.
        """
        return self._index("injection", other="benign", default=1)

    @property
    def benign_index(self) -> int:
        """Which logit is what benign texts are taught as; see `injection_index`."""
        return self._index("benign", other="injection", default=0)

    def _index(self, name: str, *, other: str, default: int) -> int:
        labels = [label.casefold() for label in self.labels]
        if name in labels:
            return labels.index(name)
        if len(labels) > 2:
            raise ConfigurationError(
                f"{self.name}: {len(labels)} labels, none of them called {name}, and which of them "
                "is meant cannot be told; name it so"
            )
        return 1 - labels.index(other) if other in labels else default

    def to_json(self) -> str:
        """The text of `guard.json`."""
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        document["thresholds"] = {
            channel: {"flag_at": flag_at, "block_at": block_at}
            for channel, (flag_at, block_at) in self.thresholds.items()
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, file: Path) -> Self:
        """Read `guard.json`; `file` is named in errors.

        Raises:
            CheckpointError: not JSON, not ours, newer than this version, or incomplete.
            ConfigurationError: of more than two labels none is called injection.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise CheckpointError(
                f"{file}: not valid JSON ({error}); the file may be truncated"
            ) from error
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise CheckpointError(
                f'{file}: "format" is not "{FORMAT}"; this is no bertguard checkpoint'
            )
        version = document.pop("format_version", None)
        if version not in _READ_VERSIONS:
            raise CheckpointError(
                f"{file}: format_version is {version!r}, this bertguard reads up to "
                f"{FORMAT_VERSION}; upgrade bertguard, or export the checkpoint again"
            )
        try:
            document["labels"] = tuple(document["labels"])
            document["thresholds"] = {
                channel: (float(pair["flag_at"]), float(pair["block_at"]))
                for channel, pair in document["thresholds"].items()
            }
            manifest = cls(**document)
            complete = (
                all(0 <= p <= 1 for pair in manifest.thresholds.values() for p in pair)
                and 0 < manifest.prior < 1
                and all(t > 0 for t in manifest.temperature.values())
                and {"prompt", "data"} <= manifest.thresholds.keys() & manifest.temperature.keys()
                and len(manifest.labels) >= 2
                and all(isinstance(label, str) for label in manifest.labels)
                and manifest.window_tokens > manifest.overlap_tokens + 2
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{file}: a field is missing or of the wrong kind ({type(error).__name__}: {error})"
            ) from error
        if not complete:
            raise CheckpointError(
                f"{file}: thresholds, temperature, prior, labels or window hold values that cannot "
                "be; expected two channels, probabilities in [0, 1] and positive temperatures"
            )
        try:
            _ = manifest.injection_index
        except ConfigurationError as error:
            raise ConfigurationError(f"{file}: {error}") from None
        return manifest


def read_manifest(directory: Path, *, unchecked: Collection[str] = ()) -> Manifest:
    """The manifest of a checkpoint directory, its files checked by size.

    Args:
        directory: the checkpoint.
        unchecked: files that may be missing or damaged, since the caller replaces them.

    Raises:
        CheckpointError: the directory, the manifest or a file is missing, or a size is off.
        ConfigurationError: of more than two labels none is called injection.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such directory; expected a checkpoint")
    file = directory / MANIFEST
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{file}: cannot be read ({type(error).__name__}); a checkpoint is a directory that "
            "`guard train` wrote, not bare encoder weights"
        ) from error
    manifest = Manifest.from_json(text, file)
    for name, facts in manifest.files.items():
        if name in unchecked:
            continue
        try:
            size = (directory / name).stat().st_size
        except OSError as error:
            raise CheckpointError(f"{directory / name}: is missing") from error
        if size != facts.get("bytes"):
            raise CheckpointError(
                f"{directory / name}: holds {size} bytes, the manifest says {facts.get('bytes')}; "
                "the file is truncated or from another checkpoint"
            )
    return manifest


def verified(directory: Path, name: str, manifest: Manifest) -> Path:
    """The path of one file after its SHA-256 was compared with the manifest.

    Raises:
        CheckpointError: the manifest does not list the file, or its content is another.
    """
    facts = manifest.files.get(name)
    if facts is None:
        raise CheckpointError(
            f"{directory / name}: the manifest does not list it; run `guard export` to make it"
        )
    if sha256(directory / name) != facts.get("sha256"):
        raise CheckpointError(
            f"{directory / name}: the content does not match the SHA-256 in {MANIFEST}; the file "
            "is damaged or from another checkpoint"
        )
    return directory / name


def write_manifest(
    directory: Path, manifest: Manifest, *, written: Collection[str] = _LISTED
) -> Manifest:
    """Write `guard.json` with size and SHA-256 of the files that were `written`, as they are now.

    What the manifest says of other files stays: hashed again, a damaged file would pass for whole.

    Returns the manifest as it will be read again (JSON knows lists, no tuples).
    """
    files = {name: facts for name, facts in manifest.files.items() if name not in written}
    files |= {
        name: {"bytes": (directory / name).stat().st_size, "sha256": sha256(directory / name)}
        for name in _LISTED
        if name in written and (directory / name).is_file()
    }
    values = asdict(manifest)
    values["files"] = files
    text = Manifest(**values).to_json()
    # First beside it, then in its place: an interrupted write leaves the old manifest.
    beside = directory / f".{MANIFEST}.part"
    # A lone surrogate, as in a source that is no UTF-8, becomes JSON's own escape of it.
    beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    beside.replace(directory / MANIFEST)
    return Manifest.from_json(text, directory / MANIFEST)


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({type(error).__name__})") from error
