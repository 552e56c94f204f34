"""The server behind the gateway: its URL, what lies under it, and why it could not be reached."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import httpx

from bertguard.errors import ConfigurationError

__all__ = ["behind_gateway", "cause", "climbs", "upstream_url"]

# `https://host/path`, and `//host/path` with the scheme left to the reader.
_WITH_HOST = re.compile(rb"(?:(https?):)?//([^/\\?#]*)((?:[/?#].*)?)", re.IGNORECASE | re.DOTALL)
# A path that a browser takes for `//host`: it reads backslashes as slashes and leaves out tabs.
_LIKE_A_HOST = (b"//", b"/\\", b"/\t")

# No server decodes a path more often, and each round costs its length again.
_MAX_DECODINGS = 5

_CAUSES: tuple[tuple[str, type[BaseException]], ...] = (
    # A TLS handshake that takes too long has errors of TLS among its causes.
    ("time ran out", httpx.TimeoutException),
    ("its name was not found in DNS", socket.gaierror),
    ("connection refused", ConnectionRefusedError),
    ("its TLS certificate is not one to trust", ssl.SSLCertVerificationError),
    ("TLS failed", ssl.SSLError),
    ("a breach of the protocol", httpx.ProtocolError),
)


def upstream_url(upstream: str) -> httpx.URL:
    """The URL of an upstream, where requests can be sent to.

    Raises:
        ConfigurationError: it is none; the message repeats no user and no password.
    """
    expected = "expected something like https://api.openai.com or http://127.0.0.1:11434"
    try:
        url = httpx.URL(upstream)
        # Names that DNS cannot hold fail here (IDNA), not at the first request.
        has_host = bool(url.host)
        url.raw_host.decode("ascii").encode("idna")
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigurationError(f"upstream is not a URL ({error}); {expected}") from error
    if url.scheme not in ("http", "https") or not has_host:
        raise ConfigurationError(f"upstream has no http(s) scheme or no host; {expected}")
    if url.userinfo or url.query or url.fragment:
        # Not repeated in the message: this is where people put secrets.
        raise ConfigurationError(
            "upstream holds a user, a query or a fragment; give scheme, host and path alone and "
            "send credentials in the requests' headers, which are passed on"
        )
    if url.port is not None and not 1 <= url.port <= 65535:
        raise ConfigurationError(f"upstream has port {url.port}; ports are 1 to 65535")
    return url


def climbs(path: bytes) -> bool:
    """Whether a path holds a `..` segment, for a reader who decodes it, even several times over.

    Such a reader leaves the path that the upstream's URL names. `..;x` is one for Java's servers.
    """
    for _ in range(_MAX_DECODINGS):
        if any(segment.partition(b";")[0] == b".." for segment in re.split(rb"[/\\]", path)):
            return True
        decoded = unquote_to_bytes(path)
        if decoded == path:
            return False
        path = decoded
    return True


def behind_gateway(location: bytes, upstream: httpx.URL, root: bytes = b"") -> bytes:
    """A `Location` of the upstream's as the client of the gateway may follow it.

    What names a place under the upstream's URL becomes a path at the gateway (below `root`, where
    that is mounted): whoever follows it comes by the guard again. Anything else stays as it is.
    """
    prefix = upstream.raw_path.rstrip(b"/")
    if named := _WITH_HOST.fullmatch(location):
        scheme, authority, local = named.groups()
        if not _is_origin(upstream, scheme or upstream.raw_scheme, authority):
            return location
        if not local.startswith(b"/"):
            local = b"/" + local
    elif location.startswith(b"/") and (prefix or root):
        local = location
    else:
        return location
    path = re.split(rb"[?#]", local, maxsplit=1)[0]
    if prefix and (climbs(path) or not (path + b"/").startswith(prefix + b"/")):
        return location
    local = local[len(prefix) :]
    if not local.startswith(b"/"):
        local = b"/" + local
    if not root and local.startswith(_LIKE_A_HOST):
        local = b"/." + local
    return root + local


def _is_origin(upstream: httpx.URL, scheme: bytes, authority: bytes) -> bool:
    try:
        url = httpx.URL(f"{scheme.decode('ascii').lower()}://{authority.decode('latin-1')}")
    except (httpx.InvalidURL, ValueError):
        return False
    return (url.scheme, url.raw_host, url.port) == (
        upstream.scheme,
        upstream.raw_host,
        upstream.port,
    )


def cause(error: BaseException) -> str:
    """Why an exchange failed: a few words where they are known, and the names of the errors.

    Messages are left out: they name hosts and addresses.
    """
    errors = list(_chain(error))
    names = ", ".join(dict.fromkeys(type(found).__name__ for found in errors))
    for words, kind in _CAUSES:
        if any(isinstance(found, kind) for found in errors):
            return f"{words} ({names})"
    return names


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it; where several addresses were tried, the causes of each."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        # Not `__suppress_context__`: httpcore raises its errors again `from None`.
        waiting.append(found.__cause__ or found.__context__)
        if isinstance(found, BaseExceptionGroup):
            waiting.extend(found.exceptions)
