"""guarded_client and guard_client: clients with the guard in every way out."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import httpx

from bertguard.client.gate import DEFAULT_MAX_BODY_BYTES, DEFAULT_TRUSTED_ROLES
from bertguard.client.making import Library
from bertguard.client.transports import faces
from bertguard.errors import ConfigurationError
from bertguard.guard import Guard
from bertguard.segments import Role

if TYPE_CHECKING:
    import httpx2

# From a request to the transport that sends it, in both libraries. Methods that make requests
# (`request`, `stream`, …) end in `send`.
_WAY = (
    "send",
    "_send_handling_auth",
    "_send_handling_redirects",
    "_send_single_request",
    "_transport_for_url",
)

ClientT = TypeVar(
    "ClientT", "httpx.AsyncClient", "httpx.Client", "httpx2.AsyncClient", "httpx2.Client"
)


@overload
def guarded_client(
    guard: Guard,
    *,
    library: Literal["httpx"] = "httpx",
    sync: Literal[False] = False,
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> httpx.AsyncClient: ...
@overload
def guarded_client(
    guard: Guard,
    *,
    library: Literal["httpx"] = "httpx",
    sync: Literal[True],
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> httpx.Client: ...
@overload
def guarded_client(
    guard: Guard,
    *,
    library: Literal["httpx2"],
    sync: Literal[False] = False,
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> httpx2.AsyncClient: ...
@overload
def guarded_client(
    guard: Guard,
    *,
    library: Literal["httpx2"],
    sync: Literal[True],
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> httpx2.Client: ...
def guarded_client(
    guard: Guard,
    *,
    library: Library = "httpx",
    sync: bool = False,
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> object:
    """A real httpx client whose every way out asks the guard first.

    It goes where an SDK takes an `http_client`: `AsyncOpenAI(http_client=guarded_client(guard,
    library="httpx2"))`. openai 3, anthropic 2 and mistralai 3 are built on httpx2; google-genai
    takes both; ollama, cohere and the older SDKs are built on httpx. An SDK object with two faces
    (google-genai, mistralai) needs two clients: what it is not given it makes itself, unguarded.

    It stands in for the client that the SDK would have made, so where nothing is said it has the
    settings of OpenAI's and Anthropic's own and not httpx's: 600 s for an answer and 5 s to
    connect, redirects followed (every hop is judged), 1000 connections, 100 of them kept alive.
    cohere by itself waits 300 s (`timeout=300`) and google-genai for ever (`timeout=None`);
    mistralai says with each request how long.

    `response.extensions["guard"]` is the `Verdict`, of a flagged request as of every other. openai
    and anthropic lead to that response by `with_raw_response.create(…)` and its `http_response`;
    a hook sees it with any SDK (`event_hooks={"response": […]}`).

    Args:
        guard: the guard to ask.
        library: `httpx` or `httpx2`.
        sync: True for a synchronous `Client`, else an `AsyncClient`.
        trusted_roles: see `GuardTransport`, like `max_body_bytes`.
        max_body_bytes: see `GuardTransport`.
        client_options: whatever the client takes: `base_url`, `headers`, `timeout`, `proxy`,
            `mounts`, `transport`, …. Proxies of the environment are guarded as well. A read
            `timeout` bounds the guard, too, unless it is httpx's default; see `GuardTransport`.
            One of the `mounts` that is a guard transport already keeps the guard and the policy
            that it was given: that address is exempt from this one.

    Raises:
        MissingExtraError: httpx2 is not installed.
    """
    module, async_face, sync_face = faces(library)
    make, face = (module.Client, sync_face) if sync else (module.AsyncClient, async_face)
    options: dict[str, Any] = {
        # DEFAULT_TIMEOUT and DEFAULT_CONNECTION_LIMITS of openai and anthropic (`_constants`).
        "timeout": module.Timeout(600, connect=5.0),
        "limits": module.Limits(max_connections=1000, max_keepalive_connections=100),
        "follow_redirects": True,
        **client_options,
    }
    mounted = (options.get("mounts") or {}).values()
    chosen = [way for way in mounted if isinstance(way, face)]
    gate = {"trusted_roles": trusted_roles, "max_body_bytes": max_body_bytes}
    return _put_before(make(**options), face, guard, gate, chosen)


def guard_client(
    client: ClientT,
    guard: Guard,
    *,
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    own_send: bool = False,
) -> ClientT:
    """Put the guard into an existing client, in place, and return the client.

    Every transport that the client holds is wrapped, the one of a proxy or a mount like the main
    one. A client that is guarded in the very same way already is left as it is; another guard, or
    other options, stand in front of what is there, and both have to agree.

    Args:
        client: the client.
        guard: the guard to ask.
        trusted_roles: see `GuardTransport`, like `max_body_bytes`.
        max_body_bytes: see `GuardTransport`.
        own_send: True takes a subclass with a `send` of its own, on your word that it ends in
            `super().send`, whose requests pass the transports. What it sends in any other way no
            guard reads.

    Raises:
        ConfigurationError: not a client of httpx or httpx2, or one of an unknown build: for
            google-genai give `guarded_client` as `httpx_async_client` instead.
    """
    face = _face_of(client)
    if not own_send and (own := _ways_of_its_own(client)):
        name = f"{type(client).__module__}.{type(client).__name__}"
        raise ConfigurationError(
            f"{name} has a {own} of its own, which may go past the transports that are guarded; "
            f"use guarded_client(guard) in its place or, if that {own} always ends in httpx's, "
            "guard_client(…, own_send=True)"
        )
    options = {"trusted_roles": trusted_roles, "max_body_bytes": max_body_bytes}
    return _put_before(client, face, guard, options)


def _put_before(
    client: ClientT,
    face: type[Any],
    guard: Guard,
    options: Mapping[str, Any],
    chosen: Collection[object] = (),
) -> ClientT:
    """Wrap every transport but those that are `chosen`, or guarded in the very same way."""

    def wrapped(transport: Any) -> Any:
        if transport is None or any(transport is one for one in chosen):
            return transport
        fresh = face(guard, transport, **options)
        if isinstance(transport, face) and transport.gate == fresh.gate:
            return transport
        return fresh

    held: Any = client
    if not (hasattr(held, "_transport") and isinstance(getattr(held, "_mounts", None), dict)):
        # Both libraries have kept these two names from the start; without them there is no telling
        # that every way out is guarded.
        raise ConfigurationError(
            f"{type(client).__module__}.{type(client).__name__} keeps its transports in a place "
            "that is unknown here; build the client with transport=GuardTransport(guard)"
        )
    mounts = {key: wrapped(way) for key, way in held._mounts.items()}
    held._transport, held._mounts = wrapped(held._transport), mounts
    return client


def _ways_of_its_own(client: object) -> str:
    """What a subclass puts in place of the library's way from a request to a transport.

    Nothing tells a `send` that only counts requests from that of google-genai, which hands them to
    clients of its own: the one looks like the other until it runs.
    """
    kinds: list[Mapping[str, object]] = [
        vars(kind)
        for kind in type(client).__mro__
        if kind.__module__.partition(".")[0] not in ("httpx", "httpx2", "builtins", "typing")
    ]
    return next((name for name in _WAY for own in [vars(client), *kinds] if name in own), "")


def _face_of(client: object) -> type[Any]:
    """The face that fits a client. A library that was never imported cannot have made it."""
    for library in ("httpx", "httpx2"):
        if sys.modules.get(library) is not None:
            module, async_face, sync_face = faces(library)
            if isinstance(client, module.AsyncClient):
                return async_face
            if isinstance(client, module.Client):
                return sync_face
    raise ConfigurationError(
        f"client is a {type(client).__module__}.{type(client).__name__}; use a client of httpx or "
        "httpx2 (for an SDK, the one that it takes as http_client)"
    )
