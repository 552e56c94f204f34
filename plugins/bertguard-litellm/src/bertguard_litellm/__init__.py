"""bertguard as a LiteLLM guardrail.

One method, `apply_guardrail`: LiteLLM calls it for every endpoint that it can translate (chat
completions, responses, messages, completions, MCP tools). See the README beside this package for
the lines of configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from litellm.exceptions import GuardrailRaisedException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.llms.base_llm.guardrail_translation.utils import (
    effective_scan_only_tool_results_for_guardrail,
    effective_skip_system_message_for_guardrail,
    effective_skip_tool_message_for_guardrail,
)

from bertguard import Action, Channel, Guard, Policy, Segment, Verdict
from bertguard.policy import Thresholds
from bertguard.segments import Role
from bertguard.wire.refusal import refuse

if TYPE_CHECKING:
    from litellm.litellm_core_utils.litellm_logging import Logging
    from litellm.types.utils import GenericGuardrailAPIInputs

__all__ = ["BertguardGuardrail"]

_PROVIDER = "bertguard"
# What reaches the model beside the messages, by the names of LiteLLM's own arguments.
_CONTENT = ("tools", "functions", "documents", "system", "instructions", "prompt", "input")


class BertguardGuardrail(CustomGuardrail):  # type: ignore[misc]  # litellm is not followed
    """Blocks or reports prompt injections in what LiteLLM sends to a model.

    Args:
        checkpoint: a checkpoint directory; None is the bundled one.
        device: where it is scored, e.g. `cpu`, `cuda:1`, `auto`.
        shadow: report, never block.
        on_unscanned: `block`, `flag` or `allow` what could not be scored.
        thresholds: per channel, e.g. `{"data": {"flag_at": 0.6, "block_at": 0.9}}`; a channel
            that is left out uses the checkpoint's own.
        guard: a guard that is there already; the arguments above are then unused.
        **litellm_params: what LiteLLM passes on from its configuration.

    Source: https://docs.litellm.ai/docs/proxy/guardrails/custom_guardrail
    """

    def __init__(
        self,
        *,
        checkpoint: str | None = None,
        device: str = "auto",
        shadow: bool = False,
        on_unscanned: Literal["block", "flag", "allow"] = "block",
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        guard: Guard | None = None,
        **litellm_params: Any,
    ) -> None:
        self.guard = guard or Guard.load(
            checkpoint,
            device=device,
            policy=Policy(
                thresholds={
                    Channel(name): Thresholds(**pair) for name, pair in (thresholds or {}).items()
                },
                mode="shadow" if shadow else "enforce",
                on_unscanned=on_unscanned,
            ),
        )
        super().__init__(**litellm_params)

    async def apply_guardrail(
        self,
        inputs: GenericGuardrailAPIInputs,
        request_data: dict[str, Any],
        input_type: Literal["request", "response"],
        logging_obj: Logging | None = None,
    ) -> GenericGuardrailAPIInputs:
        """Score a request, or what came back from a tool or model, and let it pass unchanged.

        Raises:
            GuardrailRaisedException: blocked, with status 400; or not scanned whole, with
                `blocked_content` false, so that LiteLLM tells the two apart, and status 503 only
                where trying again may help.
        """
        if input_type == "request":
            verdict = await self._check_request(inputs, request_data)
        else:
            verdict = await self.guard.check_segments(_answers(inputs))
        if verdict.action is not Action.ALLOW or verdict.unscanned:
            self.add_standard_logging_guardrail_information_to_request_data(
                guardrail_json_response=verdict.to_dict(),
                request_data=request_data,
                guardrail_status="guardrail_intervened" if verdict.blocked else "success",
                guardrail_provider=_PROVIDER,
            )
        if verdict.blocked:
            raise self._refusal(verdict)
        return inputs

    async def _check_request(
        self, inputs: GenericGuardrailAPIInputs, request_data: Mapping[str, Any]
    ) -> Verdict:
        """The whole body: LiteLLM's own extraction leaves out documents, for one."""
        scoped = (
            effective_scan_only_tool_results_for_guardrail(self)
            or effective_skip_system_message_for_guardrail(self)
            or effective_skip_tool_message_for_guardrail(self)
        )
        sent = _mapping(request_data.get("proxy_server_request"))
        # Hooks that ran before may have changed the request: its names, with today's values.
        document = {
            name: request_data.get(name, value)
            for name, value in _mapping(sent.get("body")).items()
        }
        path = urlsplit(str(sent.get("url", ""))).path
        if scoped or not document:
            # The operator narrowed what is read, or there is no HTTP request (the Python SDK).
            document = {"messages": inputs.get("structured_messages") or []}
            path = ""
        if not scoped:
            # What a hook put in, and all that the Python SDK was given.
            document |= {
                name: request_data[name]
                for name in _CONTENT
                if name not in document and request_data.get(name)
            }
        known = set(_strings(document))
        # MCP arguments and what a hook put in: seen by LiteLLM, not in the body as it came.
        more = [text for text in inputs.get("texts") or [] if text not in known]
        if more:
            document["bertguard_litellm_texts"] = more
        for name in () if scoped else ("tools", "tool_calls"):
            seen = inputs.get(name)
            if any(text not in known for text in _strings(seen)):
                document[f"bertguard_litellm_{name}"] = seen
        body = json.dumps(document, default=str, ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )
        return await self.guard.check_body(
            body, path=path, headers={"content-type": "application/json"}
        )

    def _refusal(self, verdict: Verdict) -> GuardrailRaisedException:
        if verdict.findings:
            message = "The request was blocked: it reads like a prompt injection."
        else:
            message = "The request was blocked: it could not be scanned whole."
        return GuardrailRaisedException(
            guardrail_name=self.guardrail_name,
            message=self.render_violation_message(message),
            should_wrap_with_default_message=False,
            # As the package's own edges: SDKs try a 503 again, and some things are never readable.
            status_code=refuse(verdict).status,
            blocked_content=bool(verdict.findings),
        )


def _answers(inputs: GenericGuardrailAPIInputs) -> list[Segment]:
    """What a tool or a model returned: the next model only reads it."""
    return [
        Segment(text, Role.TOOL, Channel.DATA, f"/texts/{number}")
        for number, text in enumerate(inputs.get("texts") or [])
    ]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
