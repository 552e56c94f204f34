"""guarded_client, guard_client, GuardTransport: no request leaves that the guard has not read.

The guard sits in the transport, the last place before the wire: redirects, retries, authentication
flows, proxies and mounts all pass through it, and the bytes that were scored are the bytes that
are sent. A refusal is an HTTP response, so that the SDKs raise their own typed error, once. What an
SDK sends over a WebSocket of its own goes through no HTTP client: see the README.

One core, `Gate`, has four faces: {httpx, httpx2} x {async, sync}. httpx2 is an optional extra.

    gate          the question to the guard, and the answer to the caller
    transports    the four faces
    making        the transport that fits a library and its kind of client
    clients       clients with the guard in every way out
"""

from bertguard.client.clients import guard_client, guarded_client
from bertguard.client.gate import DEFAULT_MAX_BODY_BYTES, DEFAULT_TRUSTED_ROLES
from bertguard.client.making import guard_transport
from bertguard.client.transports import GuardTransport, SyncGuardTransport

__all__ = [
    "DEFAULT_MAX_BODY_BYTES",
    "DEFAULT_TRUSTED_ROLES",
    "GuardTransport",
    "SyncGuardTransport",
    "guard_client",
    "guard_transport",
    "guarded_client",
]
