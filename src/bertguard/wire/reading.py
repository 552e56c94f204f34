"""What a request holds, as the guard sees it."""

from __future__ import annotations

from dataclasses import dataclass

from bertguard.segments import Role, Segment


@dataclass(frozen=True, slots=True)
class Reading:
    """Every text of one request.

    `dialect` names the format ("openai.chat", "anthropic.messages", "json", "form", "text", …) and
    decides the shape of a refusal. `unscanned` lists what may reach the model although no
    classifier of texts can read it, each as "reason at pointer", e.g.
    "unknown_media at /messages/0/content/1"; the policy's `on_unscanned` decides about it.
    `trustable` are those of `unscanned` that one role alone has said (the input of an embeddings
    endpoint, the model's own token ids): where texts of that role are not scored, they need not be
    read either.
    `notes` are facts worth a line in the verdict that change no action, e.g.
    "image at /messages/0/content/1" or "unseen_history at /previous_response_id".

    Pointers in segments, `unscanned` and `notes` are JSON pointers (RFC 6901) into the body:

    - a string's own place, e.g. `/messages/2/content`; for a key, the place of its value;
    - the smallest array or object that holds them all for texts that were joined: the parts of one
      message at `/messages/2/content`, the last user turns at `/messages`, the short strings of
      the whole document at `` (the empty pointer);
    - in JSON Lines, `/3/…` is the fourth line that is not blank;
    - in forms, `/name` or, where a name comes more than once, `/name/0`; a file's text is at
      `/name/content`, all fields together are at ``;
    - `?/name` is a parameter of the query string, `?` all of them, `:path` the path of the URL;
    - a key is quoted only where it looks like one of a format or program: a letter or underscore,
      then letters, digits, underscores and single hyphens, 32 characters at most. Any other may be
      what somebody typed, so the pointer then ends at the object that holds it, as for the names
      of fields and parameters.
    """

    dialect: str
    segments: tuple[Segment, ...]
    unscanned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    trustable: tuple[tuple[str, Role], ...] = ()
