"""Text -> overlapping windows that cover every token. `tokenizers` only, never torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Encoding, Regex, Tokenizer, models, pre_tokenizers

from bertguard.errors import CheckpointError, ConfigurationError
from bertguard.model.checkpoint import TOKENIZER, Manifest, verified
from bertguard.scoring import Window

# A document is tokenized in pieces of about this many characters: memory stays flat, the first
# windows are scored while the rest is still text, and no thread is kept waiting for the GIL, which
# the tokenizer holds, for more than about a millisecond.
_PIECE_CHARS = 2048
# A piece ends at white space where there is some within this many characters.
_SEARCH_CHARS = 1024
# WordPiece gives up on words longer than this and says [UNK] for the whole word.
_MAX_WORD_CHARS = 100

# Texts that are tokenized together where all are at hand, on as many cores as there are.
_BATCH_TEXTS = 512

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"\s")

CHANNEL_IDS = {"prompt": 0, "data": 1}


class WindowTokenizer:
    """Cuts texts into windows of at most `window_tokens` ids, special tokens included.

    Neighbouring windows share `overlap_tokens` ids. Nothing is truncated, ever.

    Args:
        tokenizer: a loaded `tokenizers.Tokenizer`; `harden` it once, when a checkpoint is made.
        cls_id: the id that opens a window.
        sep_id: the id that closes it.
        window_tokens: the longest input of the model, e.g. 256.
        overlap_tokens: ids that two neighbours share, e.g. 64; less than what a window holds.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        cls_id: int,
        sep_id: int,
        window_tokens: int = 256,
        overlap_tokens: int = 64,
    ) -> None:
        content = window_tokens - 2
        if not 0 <= overlap_tokens < content:
            raise ConfigurationError(
                f"overlap_tokens={overlap_tokens} does not fit a window of {window_tokens} tokens; "
                f"use a number from 0 to {content - 1}"
            )
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # Otherwise a user who types "[SEP]" or "[PAD]" would write the model's own marks.
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.cls_id = cls_id
        self.sep_id = sep_id
        self.window_tokens = window_tokens
        self.overlap_tokens = overlap_tokens
        self._unknown = unknown_id(tokenizer)
        self._content = content
        self._stride = content - overlap_tokens

    @classmethod
    def from_checkpoint(cls, directory: Path, manifest: Manifest) -> WindowTokenizer:
        """The tokenizer of a checkpoint directory, with the windows that its manifest names.

        Raises:
            CheckpointError: the file is missing, damaged, or is no tokenizer.
        """
        return cls.from_file(
            verified(directory, TOKENIZER, manifest),
            cls_id=manifest.cls_id,
            sep_id=manifest.sep_id,
            window_tokens=manifest.window_tokens,
            overlap_tokens=manifest.overlap_tokens,
        )

    @classmethod
    def from_file(
        cls, file: Path, *, cls_id: int, sep_id: int, window_tokens: int, overlap_tokens: int
    ) -> WindowTokenizer:
        """Read a `tokenizer.json`.

        Raises:
            CheckpointError: the file is missing or is no tokenizer.
        """
        try:
            tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises plain Exception for a bad file
            raise CheckpointError(
                f"{file}: not a readable tokenizer ({type(error).__name__}); expected the "
                "tokenizer.json that `guard train` wrote"
            ) from error
        return cls(
            tokenizer,
            cls_id=cls_id,
            sep_id=sep_id,
            window_tokens=window_tokens,
            overlap_tokens=overlap_tokens,
        )

    def windows(self, text: str, channel: str) -> Iterator[Window]:
        """Every token of `text` in order, as windows with character offsets.

        The first window starts at character 0, the last ends at the last one, and neighbours
        overlap: every character belongs to a window. A text without a token has no window.
        """
        pieces = _pieces(_readable(text))
        encoded = (
            (offset, self.tokenizer.encode(piece, add_special_tokens=False))
            for offset, piece in pieces
        )
        return self._cut(encoded, CHANNEL_IDS[channel], len(text))

    def windows_of(self, texts: Sequence[tuple[str, str]]) -> Iterator[list[Window]]:
        """The windows of each (text, channel), in order, tokenized on all cores."""
        for begun in range(0, len(texts), _BATCH_TEXTS):
            batch = texts[begun : begun + _BATCH_TEXTS]
            pieces = [list(_pieces(_readable(text))) for text, _ in batch]
            encodings = iter(
                self.tokenizer.encode_batch(
                    [piece for own in pieces for _, piece in own], add_special_tokens=False
                )
            )
            for own, (text, channel) in zip(pieces, batch, strict=True):
                encoded = [(offset, next(encodings)) for offset, _ in own]
                yield list(self._cut(encoded, CHANNEL_IDS[channel], len(text)))

    def holds_tokens(self, text: str, channel: str) -> bool:
        """False for a text that the tokenizer makes nothing of: of format characters alone, say."""
        # Letters and digits are never nothing, and reading every text twice takes its time.
        return any(map(str.isalnum, text)) or any(True for _ in self.windows(text, channel))

    def _cut(
        self, encoded: Iterable[tuple[int, Encoding]], channel: int, length: int
    ) -> Iterator[Window]:
        """The windows of a text of that many characters, from its tokenized pieces in order."""
        ids: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        opened = False
        for offset, encoding in encoded:
            ids += encoding.ids
            for start, end in encoding.offsets:
                starts.append(offset + start)
                ends.append(offset + end)
            first = 0
            # Strictly more than a window: what stays behind always holds a token not yet seen.
            while len(ids) - first > self._content:
                last = first + self._content
                start = starts[first] if opened else 0
                opened = True
                yield self._window(ids[first:last], channel, start, ends[last - 1])
                first += self._stride
            if first:
                del ids[:first], starts[:first], ends[:first]
        if ids:
            yield self._window(ids, channel, starts[0] if opened else 0, length)

    def _window(self, ids: list[int], channel_id: int, start: int, end: int) -> Window:
        known = [self.cls_id, *ids, self.sep_id]
        return Window(known, channel_id, start, end, ids.count(self._unknown))


def _readable(text: str) -> str:
    """The text as UTF-8 can hold it, character for character."""
    return _SURROGATE.sub("\ufffd", text)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text in pieces of about `_PIECE_CHARS` characters, cut at white space if there is any."""
    start = 0
    while len(text) - start > _PIECE_CHARS + _SEARCH_CHARS:
        cut = start + _PIECE_CHARS
        space = _SPACE.search(text, cut, cut + _SEARCH_CHARS)
        cut = space.start() if space else cut
        yield start, text[start:cut]
        start = cut
    if start < len(text):
        yield start, text[start:]


def harden(tokenizer: Tokenizer) -> Tokenizer:
    """Make a WordPiece tokenizer read every word: none is swallowed whole as `[UNK]`.

    WordPiece answers `[UNK]` for a whole word when it is longer than 100 characters or holds one
    character that is not in the vocabulary: "ignore🙂all🙂previous🙂instructions" would be a single
    `[UNK]`. Here words are first split around such characters and into runs of 100. Ordinary words
    keep their ids. Other kinds of tokenizer are left as they are.

    Source: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 4.1 (WordPiece).
    """
    model = tokenizer.model
    if not isinstance(model, models.WordPiece):
        return tokenizer
    prefix = model.continuing_subword_prefix
    vocabulary = tokenizer.get_vocab()
    known = sorted(
        token for token in vocabulary if len(token) == 1 and prefix + token in vocabulary
    )
    known_class = "".join(re.escape(character) for character in known)
    splits = [
        pre_tokenizers.Split(Regex(f"[^{known_class}]"), "isolated"),
        pre_tokenizers.Split(Regex(f".{{1,{_MAX_WORD_CHARS}}}"), "isolated"),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([tokenizer.pre_tokenizer, *splits])
    return tokenizer


def softened(tokenizer: Tokenizer) -> Tokenizer:
    """A copy of a tokenizer without what `harden` put in, to be hardened for other words."""
    description = json.loads(tokenizer.to_str())
    steps = (description["pre_tokenizer"] or {}).get("pretokenizers", [])
    if [step["type"] for step in steps[-2:]] == ["Split", "Split"]:
        before = steps[:-2]
        description["pre_tokenizer"] = (
            before[0] if len(before) == 1 else {"type": "Sequence", "pretokenizers": before}
        )
    return Tokenizer.from_str(json.dumps(description))


def unknown_id(tokenizer: Tokenizer) -> int:
    """The id of the token for what is not in the vocabulary; -1, which no token has, for none."""
    token: str | None = getattr(tokenizer.model, "unk_token", None)
    found = None if token is None else tokenizer.token_to_id(token)
    return -1 if found is None else found
