"""The fixed words of the wire formats, and which strings are too short to be scored alone."""

from __future__ import annotations

import re

SHORT_CHARS = 24
"""A string with fewer characters is *short*: it is scored joined with the other short ones."""

IDENTIFIER_CHARS = 64
"""So is an ASCII string without white space below this length: ids, dates, names of models."""

IDENTIFIER_KEYS = frozenset(
    {
        "model", "id", "tool_call_id", "tool_use_id", "toolUseId", "call_id", "item_id",
        "custom_id",
        "previous_response_id", "conversation_id", "container", "file_id",
    }
)  # fmt: skip
"""Keys of known dialects whose values name something at the provider and reach no model as text."""

FREE_KEYS = frozenset(
    {
        "response", "structuredContent", "arguments", "args", "json", "output", "outputs",
        "documents", "variables", "promptVariables", "prompt_variables", "data", "result",
        "attributes", "chat_template_kwargs", "examples", "example", "default", "const",
    }
)  # fmt: skip
"""Keys of an object that is somebody's own: `id` and `model` in it are words like any other."""

FREE_OBJECTS = frozenset({"input", "content"})
"""The same where they hold an object: a tool's arguments, the answer to an MCP elicitation."""

CALL_KEYS = frozenset({"arguments", "args"})
SCHEMA_KEYS = frozenset({"parameters", "input_schema", "inputSchema"})
"""Keys of what a model calls a tool with, and of its schema: an id in there opens no file."""

MAX_QUOTED_CHARS = 32
"""A key with more characters is never quoted in a pointer."""

# Identifiers as formats and programs write them; those with a hyphen are the rarer ones.
_HYPHENED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")


def is_identifier(text: str) -> bool:
    """Whether a value under an identifier key has the shape of one; any other is swept as text."""
    return len(text) < IDENTIFIER_CHARS and _IDENTIFIER.fullmatch(text) is not None


def is_quotable(key: str) -> bool:
    """Whether a key looks like one of a format or program, so that a pointer may hold it.

    Any other may be what somebody typed: an address, a password, a question.
    """
    if len(key) > MAX_QUOTED_CHARS or not key.isascii():
        return False
    return key.isidentifier() or _HYPHENED.fullmatch(key) is not None


def is_short(text: str) -> bool:
    """Whether a string is scored joined with others of its kind instead of alone."""
    length = len(text)
    if length < SHORT_CHARS:
        return True
    return length < IDENTIFIER_CHARS and text.isascii() and len(text.split(None, 1)) < 2


# Keys and enumerated values of the formats, by their exact spelling. They carry no message of
# their own and there is no verb among them to build one from, so the sweep leaves them out:
# otherwise every ordinary chat request would cost a second window that says "user text auto".
PROTOCOL_WORDS = frozenset(
    """
    messages message role content parts part type text texts name id object model models stream
    stream_options include_usage system developer user assistant tool function chatbot human ai
    USER SYSTEM CHATBOT TOOL input output inputs outputs prompt prompts suffix instructions
    input_text output_text refusal summary summary_text reasoning reasoning_text reasoning_content
    thinking redacted_thinking signature encrypted_content annotations logprobs phase
    image image_url input_image images audio input_audio video file input_file file_data file_id
    file_url filename url uri detail format data source media_type mime_type mimeType base64 bytes
    inlineData inline_data fileData file_data fileUri file_uri document documents
    search_result title context citations enabled tool_result tool_use tool_use_id server_tool_use
    mcp_tool_use mcp_tool_result is_error isError cache_control ephemeral ttl 5m 1h
    tool_calls tool_call_id tool_choice tools functions function_call function_call_output call_id
    arguments args parallel_tool_calls custom custom_tool_call custom_tool_call_output
    auto none any required low medium high minimal xhigh max default flex priority standard
    standard_only in_progress completed incomplete failed status
    max_tokens max_completion_tokens max_output_tokens maxOutputTokens max_tokens_to_sample
    temperature top_p topP top_k topK n seed stop stop_sequences stopSequences
    frequency_penalty presence_penalty logit_bias top_logprobs user metadata user_id store
    service_tier response_format json json_object json_schema text_format verbosity
    reasoning_effort effort safety_identifier prompt_cache_key previous_response_id conversation
    include truncation background metadata betas anthropic_version anthropic_beta budget_tokens
    bedrock-2023-05-31 vertex-2023-10-16
    adaptive disabled contents systemInstruction system_instruction generationConfig
    generation_config safetySettings toolConfig functionDeclarations functionCall functionResponse
    response result results candidateCount responseMimeType responseSchema
    options keep_alive think raw template num_ctx num_predict done
    chat_history preamble search_query search_document embedding_types input_type encoding_format
    float dimensions inferenceConfig maxTokens additionalModelRequestFields toolUse toolUseId
    toolResult cachePoint guardContent inputSchema toolSpec
    jsonrpc 2.0 method params tools/call tools/list prompts/get prompts/list resources/read
    resources/list initialize ping notifications/initialized protocolVersion capabilities
    clientInfo serverInfo version _meta progressToken cursor structuredContent resource
    resource_link blob custom_id body requests params request url
    description parameters properties property items enum const anyOf oneOf allOf not
    additionalProperties $schema $defs $ref input_schema strict string integer number boolean
    array null true false minimum maximum minLength maxLength minItems maxItems pattern
    examples definitions
    STRING INTEGER NUMBER BOOLEAN ARRAY OBJECT
    image/png image/jpeg image/gif image/webp application/pdf text/plain application/json
    audio/wav audio/mp3 wav mp3 png jpeg jpg gif webp pdf txt
    """.split()
)

QUOTABLE_WORDS = frozenset(filter(is_quotable, PROTOCOL_WORDS))
"""Those of the words that a pointer may hold, so that it need not look at most keys."""

NEVER_VALUES = frozenset({"instructions", "prompt", "prompts", "messages", "context", "role"})
"""Words of the list above that the formats use as keys only: as a value each is somebody's word."""
