"""Amazon Bedrock: converse and its streaming form; invoke carries the body of another dialect.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from bertguard.wire import openai
from bertguard.wire.collector import SYSTEM, USER, Collector, Link
from bertguard.wire.parts import read_content


def converse(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /model/{id}/converse` and `/converse-stream`."""
    read_content(c, document, "system", SYSTEM, link)
    openai.messages(document, c, link)
    variables = document.get("promptVariables")
    c.region(variables, USER)
    openai.written_by_the_application(document, c)


def invoke(document: dict[str, object], c: Collector, link: Link = "") -> None:
    """`POST /model/{id}/invoke`: the model's own format, most often Anthropic's."""
    for key in ("prompt", "inputText"):
        c.text(document, key, USER, link)
    converse(document, c, link)
