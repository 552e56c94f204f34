"""guard_transport: the transport that fits a library and its kind of client."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, overload

import httpx

from bertguard.client.gate import DEFAULT_MAX_BODY_BYTES, DEFAULT_TRUSTED_ROLES
from bertguard.client.transports import faces
from bertguard.guard import Guard
from bertguard.segments import Role

if TYPE_CHECKING:
    import httpx2

Library = Literal["httpx", "httpx2"]


@overload
def guard_transport(
    guard: Guard,
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    library: Literal["httpx"] = "httpx",
    sync: Literal[False] = False,
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> httpx.AsyncBaseTransport: ...
@overload
def guard_transport(
    guard: Guard,
    transport: httpx.BaseTransport | None = None,
    *,
    library: Literal["httpx"] = "httpx",
    sync: Literal[True],
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> httpx.BaseTransport: ...
@overload
def guard_transport(
    guard: Guard,
    transport: httpx2.AsyncBaseTransport | None = None,
    *,
    library: Literal["httpx2"],
    sync: Literal[False] = False,
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> httpx2.AsyncBaseTransport: ...
@overload
def guard_transport(
    guard: Guard,
    transport: httpx2.BaseTransport | None = None,
    *,
    library: Literal["httpx2"],
    sync: Literal[True],
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> httpx2.BaseTransport: ...
def guard_transport(
    guard: Guard,
    transport: object = None,
    *,
    library: Library = "httpx",
    sync: bool = False,
    trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> object:
    """`GuardTransport` or one of its twins: an httpx transport fails inside an httpx2 client.

    Raises:
        MissingExtraError: httpx2 is not installed.
    """
    _, async_face, sync_face = faces(library)
    face = sync_face if sync else async_face
    return face(guard, transport, trusted_roles=trusted_roles, max_body_bytes=max_body_bytes)
