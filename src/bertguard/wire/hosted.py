"""Tools that the provider runs itself: what they bring to the model never passes the guard."""

from __future__ import annotations

from bertguard.wire.collector import Collector, Link, word

# OpenAI, xAI, Groq, Mistral, Anthropic and Gemini name theirs by a type, most with a date after it.
_TYPES = ("web_search", "web_fetch", "file_search", "mcp", "browser_search", "x_search",
          "collections_search", "live_search", "document_library", "url_context", "google_search",
          "google_maps", "openrouter:web")  # fmt: skip
# Gemini's older form: the name of the tool is the only key of its entry.
_KEYS = frozenset({
    "googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval",
    "urlContext", "url_context", "fileSearch", "file_search", "googleMaps", "google_maps",
    "enterpriseWebSearch", "enterprise_web_search", "retrieval", "mcpServers", "mcp_servers",
})  # fmt: skip
# Beside the tools: OpenAI and Perplexity, Anthropic, Azure, xAI, Cohere.
_BESIDE = ("web_search_options", "mcp_servers", "mcpServers", "data_sources", "dataSources",
           "search_parameters", "connectors")  # fmt: skip
# What Gemini's agents find in the place that they work in: https://ai.google.dev/api/environments
_MOUNTED = frozenset({"gcs", "repository", "skill_registry"})
# Where none of these is, there is nothing to look for.
HOSTS = frozenset({*_BESIDE, "tools", "sources"})


def note_hosted(c: Collector, holder: dict[str, object], link: Link) -> None:
    """Note what one request lets its provider fetch: it is scored only where it is sent back."""
    for key in _BESIDE:
        if holder.get(key):
            c.note("hosted_tool", (link, key))
    tools = holder.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else [tools]):
        if isinstance(tool, dict) and _is_hosted(tool):
            place: Link = (link, "tools")
            c.note("hosted_tool", (place, number) if isinstance(tools, list) else place)
    sources = holder.get("sources")
    for number, source in enumerate(sources if isinstance(sources, list) else ()):
        if isinstance(source, dict) and word(source, "type").lower() in _MOUNTED:
            c.note("hosted_tool", ((link, "sources"), number))


def _is_hosted(tool: dict[str, object]) -> bool:
    return word(tool, "type").startswith(_TYPES) or not _KEYS.isdisjoint(tool)
