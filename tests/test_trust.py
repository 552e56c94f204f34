"""Whose texts are scored, and as what: the policy's choice, with a default for each edge."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from bertguard import Action, Channel, Guard, Policy, Role, Segment
from bertguard.client import DEFAULT_TRUSTED_ROLES
from bertguard.errors import ConfigurationError
from bertguard.verdict import Verdict
from support import ATTACK, BENIGN, KeywordScorer

TOOL = {"type": "function", "function": {"name": "f", "description": ATTACK}}
TURNS = [{"role": "user", "content": BENIGN}]
DEFINITIONS = {
    "/v1/chat/completions": {"messages": TURNS, "tools": [TOOL]},
    "/v1/responses": {"input": BENIGN, "tools": [{"type": "function", "description": ATTACK}]},
    "/v1/messages": {"messages": TURNS, "tools": [{"name": "f", "description": ATTACK}]},
    "/api/chat": {"messages": TURNS, "tools": [TOOL]},
    "/v2/chat": {"messages": TURNS, "tools": [TOOL]},
    "/v1beta/models/m:generateContent": {
        "contents": [{"parts": [{"text": BENIGN}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "description": ATTACK}]}],
    },
    "/model/m/converse": {
        "messages": TURNS,
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": ATTACK}}]},
    },
}
EMBEDDED = [
    ("/v1/embeddings", {"input": ATTACK}),
    ("/v1/embeddings", {"input": [BENIGN, ATTACK]}),
    ("/openai/deployments/d/embeddings", {"input": [{"text": ATTACK}]}),
    ("/v1/moderations", {"input": [{"type": "text", "text": ATTACK}]}),
    ("/v1/chat/moderations", {"input": [{"role": "user", "content": ATTACK}]}),
    ("/api/embed", {"input": ATTACK}),
    ("/api/embeddings", {"prompt": ATTACK}),
    ("/v1/embed", {"texts": [ATTACK], "input_type": "search_document"}),
    ("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": ATTACK}]}]}),
    ("/v1beta/models/m:embedContent", {"content": {"parts": [{"text": ATTACK}]}}),
    (
        "/v1beta/models/m:batchEmbedContents",
        {"requests": [{"model": "m", "content": {"parts": [{"text": BENIGN}, {"text": ATTACK}]}}]},
    ),
]


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as guard:
        yield guard


async def judged(guard: Guard, path: str, body: object, *, client: bool) -> Verdict:
    """As the middleware asks, which trusts nobody, or as the client does."""
    trusted = DEFAULT_TRUSTED_ROLES if client else frozenset()
    return await guard.check_body(json.dumps(body).encode(), path=path, trusted_roles=trusted)


@pytest.mark.parametrize(("path", "body"), DEFINITIONS.items(), ids=DEFINITIONS)
async def test_definitions_of_tools_are_scored_in_the_middleware_and_opt_in_in_the_client(
    guard: Guard, path: str, body: object
) -> None:
    """The caller wrote them there, the application here; a policy may say otherwise."""
    assert (await judged(guard, path, body, client=False)).blocked
    assert not (await judged(guard, path, body, client=True)).blocked
    strict = guard.with_policy(Policy(trusted_roles=DEFAULT_TRUSTED_ROLES - {Role.DEFINITION}))
    lenient = guard.with_policy(Policy(trusted_roles=["definition"]))
    assert (await judged(strict, path, body, client=True)).blocked
    assert not (await judged(lenient, path, body, client=False)).blocked


@pytest.mark.parametrize(
    ("path", "body", "plain"),
    [
        ("/v1/assistants", {"model": "m", "instructions": ATTACK}, "/my/assistants"),
        ("/v1/threads/t/runs", {"assistant_id": "a", "instructions": ATTACK}, "/runs"),
        ("/v1beta/interactions", {"input": BENIGN, "system_instruction": ATTACK}, "/interactions"),
        ("/v1beta/agents", {"id": "a", "system_instruction": ATTACK}, "/v1/agents"),
        (
            "/v1/cachedContents",
            {"contents": [], "systemInstruction": {"parts": [{"text": ATTACK}]}},
            "/cached",
        ),
        ("/v1/responses", {"input": [{"type": "shell_call", "action": ATTACK}]}, "/ask"),
    ],
)
async def test_what_the_application_and_the_model_wrote_is_trusted_in_the_client_at_its_path(
    guard: Guard, path: str, body: dict[str, object], plain: str
) -> None:
    """The middleware scores it, and so does the client where no format promises whose it is."""
    assert (await judged(guard, path, body, client=False)).blocked
    assert not (await judged(guard, path, body, client=True)).blocked
    assert (await judged(guard, plain, body, client=True)).blocked


@pytest.mark.parametrize(("path", "body"), EMBEDDED)
async def test_what_is_embedded_is_scored_in_the_middleware_and_opt_in_in_the_client(
    guard: Guard, path: str, body: object
) -> None:
    """The verdict notes what was left out, whoever decided it."""
    scored = await judged(guard, path, body, client=False)
    assert (scored.action, scored.notes) == (Action.BLOCK, ())
    assert {finding.role for finding in scored.findings} == {Role.EMBEDDING}
    assert {finding.channel for finding in scored.findings} == {Channel.DATA}
    left_out = await judged(guard, path, body, client=True)
    assert (left_out.action, left_out.scanned_chars) == (Action.ALLOW, 0)
    (note,) = left_out.notes
    assert note.startswith("unscored_embedding at /")
    strict = guard.with_policy(Policy(trusted_roles=[]))
    assert (await judged(strict, path, body, client=True)).blocked


@pytest.mark.parametrize(
    "path",
    [
        "/agents/embeddings",
        "/embeddings",
        "/v1/responses/embeddings",
        "/v1//embeddings",
        "/v1/responses/../embeddings",
        "/v1/embeddings/",
        "/v1\\embeddings",
        "/v1/%65mbeddings",
        "/v1/responses;/embeddings",
        "/v1/responses",
        "/x",
    ],
)
async def test_a_path_that_could_mean_another_leaves_nothing_unscored(
    guard: Guard, path: str
) -> None:
    """A text is an embedding only at the plain path of such an endpoint."""
    assert (await judged(guard, path, {"input": ATTACK}, client=True)).blocked


@pytest.mark.parametrize(
    "beside",
    [
        {"messages": [{"role": "user", "content": ATTACK}]},
        {"prompt": ATTACK},
        {"user": ATTACK},
        {"instructions": ATTACK},
        {"contents": [{"parts": [{"text": ATTACK}]}]},
        {ATTACK: 1},
    ],
)
async def test_only_the_input_is_left_unscored(guard: Guard, beside: dict[str, object]) -> None:
    """Whatever else such a request holds is scored."""
    body = {"input": BENIGN, **beside}
    assert (await judged(guard, "/v1/embeddings", body, client=True)).blocked


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]], [BENIGN, [1, 2]]])
async def test_token_ids_of_an_embedding_are_left_out_like_its_texts(
    guard: Guard, ids: list[object]
) -> None:
    """LangChain sends them instead of texts; nobody follows the ones more than the others."""
    verdict = await judged(guard, "/v1/embeddings", {"input": ids}, client=True)
    assert (verdict.action, verdict.unscanned) == (Action.ALLOW, ())
    assert verdict.notes == ("unscored_embedding at /input",)
    strict = guard.with_policy(Policy(trusted_roles=[]))
    for which, client in ((guard, False), (strict, True)):
        verdict = await judged(which, "/v1/embeddings", {"input": ids}, client=client)
        assert (verdict.action, verdict.unscanned) == (Action.BLOCK, ("token_ids at /input",))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": [1, 2, 3]}),
        ("/v1/embeddings", {"prompt": [1, 2, 3], "input": "x"}),
        ("/v1//embeddings", {"input": [1, 2, 3]}),
    ],
)
async def test_token_ids_anywhere_else_stay_unscanned(
    guard: Guard, path: str, body: object
) -> None:
    """Nobody can say what they mean, so `on_unscanned` decides in both edges."""
    verdict = await judged(guard, path, body, client=True)
    assert verdict.action is Action.BLOCK
    assert [entry.partition(" ")[0] for entry in verdict.unscanned] == ["token_ids"]


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
async def test_earlier_turns_are_scored_in_the_middleware_only(guard: Guard, role: str) -> None:
    """The caller wrote the assistant's turns as well; a policy may trust some of them."""
    body = {"messages": [{"role": role, "content": ATTACK}, *TURNS]}
    path = "/v1/chat/completions"
    assert (await judged(guard, path, body, client=False)).blocked
    assert not (await judged(guard, path, body, client=True)).blocked
    trusting = guard.with_policy(Policy(trusted_roles=[role]))
    assert not (await judged(trusting, path, body, client=False)).blocked


async def test_a_format_that_nobody_promised_trusts_no_word(guard: Guard) -> None:
    """Lines of JSON at an unknown path are scored, whatever role they name."""
    line = json.dumps({"messages": [{"role": "system", "content": ATTACK}]})
    verdict = await guard.check_body(
        f"{line}\n{line}\n".encode(), path="/x", trusted_roles=DEFAULT_TRUSTED_ROLES
    )
    assert verdict.blocked


async def test_the_channel_of_a_role_is_the_policys_choice() -> None:
    """Texts of that role are read so and judged by that channel's thresholds; others are not."""
    with Guard(KeywordScorer(), policy=Policy(channels={"user": "data"})) as guard:  # type: ignore[dict-item]
        verdict = await guard.check_segments(
            [Segment(ATTACK, Role.USER), Segment(ATTACK, Role.SYSTEM)]
        )
    found = {finding.role: finding.channel for finding in verdict.findings}
    assert found == {Role.USER: Channel.DATA, Role.SYSTEM: Channel.PROMPT}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": {"user": "email"}}, "'email' is not a valid Channel"),
        ({"channels": {"root": "data"}}, "'root' is not a valid Role"),
        ({"trusted_roles": ["root"]}, "the roles are system"),
        ({"trusted_roles": "system"}, "use a list of roles"),
    ],
)
def test_unknown_roles_and_channels_are_refused(options: dict[str, object], message: str) -> None:
    """A typing error must not trust nobody, or everybody, in silence."""
    with pytest.raises(ConfigurationError, match=message):
        Policy(**options)  # type: ignore[arg-type]


def test_roles_may_be_given_by_name() -> None:
    """A policy holds members, however they were written."""
    policy = Policy(trusted_roles=["system"], channels={"tool": "prompt"})  # type: ignore[dict-item]
    assert policy.trusted_roles == frozenset({Role.SYSTEM})
    assert policy.channels == {Role.TOOL: Channel.PROMPT}


async def test_a_guard_under_another_policy_shares_the_model() -> None:
    """Its own thresholds, memory where those differ, and one set of workers."""
    with Guard(KeywordScorer()) as guard:
        twin = guard.with_policy(Policy(mode="shadow"))
        assert twin.scorer is guard.scorer
        assert twin.memory is guard.memory
        assert guard.policy.mode == "enforce"
        assert not (await twin.check(ATTACK)).blocked
        assert (await guard.check(ATTACK)).blocked


async def test_the_model_s_own_token_ids_are_left_out_like_its_words(guard: Guard) -> None:
    """Ollama's SDK sends back the `context` that it was given; a stranger may send any other."""
    body = {"model": "m", "prompt": BENIGN, "context": [1, 2, 3]}
    verdict = await judged(guard, "/api/generate", body, client=True)
    assert (verdict.action, verdict.unscanned) == (Action.ALLOW, ())
    assert verdict.notes == ("unseen_history at /context", "unscored_assistant at /context")
    wary = guard.with_policy(Policy(trusted_roles=[]))
    for which, client in ((guard, False), (wary, True)):
        verdict = await judged(which, "/api/generate", body, client=client)
        assert (verdict.action, verdict.unscanned) == (Action.BLOCK, ("token_ids at /context",))


async def test_a_skill_inside_a_tool_is_the_application_s_like_the_tool(guard: Guard) -> None:
    """OpenAI's inline skills are ZIP files among the definitions of tools."""
    archive = base64.b64encode(b"PK\x03\x04" + bytes(range(120, 220))).decode()
    source = {"type": "base64", "media_type": "application/zip", "data": archive}
    skill = {"type": "inline", "name": "s", "description": "Charts", "source": source}
    environment = {"type": "container_auto", "skills": [skill]}
    body = {"input": BENIGN, "tools": [{"type": "shell", "environment": environment}]}
    verdict = await judged(guard, "/v1/responses", body, client=True)
    assert (verdict.action, verdict.unscanned) == (Action.ALLOW, ())
    assert (await judged(guard, "/v1/responses", body, client=False)).unscanned


async def test_what_a_stranger_listed_in_a_turn_of_the_model_s_is_scored(guard: Guard) -> None:
    """Blocks of an assistant turn that bring what a tool or a server of tools said."""
    for block in (
        {"type": "mcp_tool_listing", "tools": [{"name": "f", "description": ATTACK}]},
        {"type": "advisor_tool_result", "content": {"type": "advisor_result", "text": ATTACK}},
        {"type": "tool_reference", "title": ATTACK},
    ):
        body = {"messages": [*TURNS, {"role": "assistant", "content": [block]}]}
        verdict = await judged(guard, "/v1/messages", body, client=True)
        assert verdict.findings[0].channel is Channel.DATA
