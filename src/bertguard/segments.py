"""One text on its way to an LLM: who said it, how it will be read, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who wrote a text, in the words of the chat formats.

    Two are no speakers: `definition` is what the application says about its tools, `embedding` a
    text that an embeddings or moderations endpoint turns into numbers, and nobody follows.
    """

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    DEFINITION = "definition"
    EMBEDDING = "embedding"
    UNKNOWN = "unknown"


class Channel(StrEnum):
    """How the LLM meets a text: somebody talks to it, or it only reads.

    "Write a poem about the sea" is a fine *prompt* and a hostile sentence inside *data*
    (a document, a tool result, a web page). The classifier is told which through BERT's
    segment embedding: `token_type_ids` 0 is prompt, 1 is data.
    """

    PROMPT = "prompt"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Segment:
    """One text with its place in the request.

    `pointer` is a JSON pointer (RFC 6901) into the request body, e.g. `/messages/2/content`;
    it is empty for a text that stands alone.
    """

    text: str
    role: Role = Role.USER
    channel: Channel = Channel.PROMPT
    pointer: str = ""
