"""What no reader of texts can open: files that are only named, and prompts as a model's vectors."""

from __future__ import annotations

from bertguard.wire.collector import Collector, Link, word

SHOWN = ("image", "audio", "video")
# Whoever fills a store names files that were sent, and read, before; no model is asked.
_STORE = frozenset({"file_ids", "files", "name", "description", "metadata", "expires_after",
                    "chunking_strategy", "attributes"})  # fmt: skip
_LISTS = ("file_ids", "fileIds")
_BATCHES = ("inputConfig", "input_config")
_BATCH_FILES = ("fileName", "file_name", "gcsSource", "gcs_source", "bigquerySource")
# In the words of vLLM and SGLang.
_EMBEDDINGS = ("prompt_embeds", "input_embeds")
_ENTRY_IDS = ("id", "file_id", "fileId")
# Where none of these is, and no type `file_id`, there is nothing to look for.
NAMES = frozenset({*_EMBEDDINGS, *_LISTS, *_BATCHES, "upload_file_id", "transfer_method", "files"})


def read_names(c: Collector, holder: dict[str, object], link: Link) -> None:
    """What one object hands to a model unread, under whichever key a format has.

    A model's own arguments and what a tool gave back are not for here: an id in there is a word.
    """
    for key in _EMBEDDINGS:
        # An object below the root is what a schema says about it.
        if holder.get(key) and (isinstance(link, str) or not isinstance(holder[key], dict)):
            c.unscan("prompt_embeddings", (link, key))
    # Only the root can be a store: the resources of a tool have the same keys.
    tell = c.note if isinstance(link, str) and holder.keys() <= _STORE else c.unscan
    for key in _LISTS:
        listed = holder.get(key)
        if isinstance(listed, list) and any(isinstance(name, str) for name in listed):
            tell("unseen_file", (link, key))
    if _is_given(holder, "upload_file_id"):  # Dify
        _unseen(c, holder, (link, "upload_file_id"))
    if word(holder, "transfer_method") == "remote_url" and _is_given(holder, "url"):
        _unseen(c, holder, (link, "url"), reason="unseen_document")
    if word(holder, "type") == "file_id" and _is_given(holder, "id"):  # OpenAI's evals
        c.unscan("unseen_file", (link, "id"))
    for key in _BATCHES:  # Gemini
        given = holder.get(key)
        if isinstance(given, dict) and any(given.get(name) for name in _BATCH_FILES):
            # As with OpenAI's batches: who sends one has sent the file before.
            c.note("unseen_file", (link, key))
    entries = holder.get("files")  # Open WebUI, LibreChat
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict) and any(_is_given(entry, key) for key in _ENTRY_IDS):
            if tell == c.note:
                c.note("unseen_file", ((link, "files"), number))
            else:
                _unseen(c, entry, ((link, "files"), number))


def _is_given(holder: dict[str, object], key: str) -> bool:
    return bool(word(holder, key))


def _unseen(
    c: Collector, entry: dict[str, object], link: Link, *, reason: str = "unseen_file"
) -> None:
    """A picture or sound is noted, as it is wherever it stands; anything else is a document."""
    kind = word(entry, "type").partition("/")[0]
    if kind in SHOWN:
        c.note("image" if kind == "image" else "media", link)
    else:
        c.unscan(reason, link)
