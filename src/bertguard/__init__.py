"""bertguard keeps prompt injections away from LLMs.

The public names live here and load on first use: `import bertguard` by itself brings in neither
torch nor starlette nor httpx nor onnxruntime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bertguard.client import GuardTransport, guarded_client
    from bertguard.errors import GuardError
    from bertguard.guard import Guard
    from bertguard.middleware import GuardMiddleware
    from bertguard.policy import Policy, Thresholds
    from bertguard.segments import Channel, Role, Segment
    from bertguard.verdict import Action, Finding, Verdict

__version__ = "0.14.0"

_HOME = {
    "Action": "verdict",
    "Channel": "segments",
    "Finding": "verdict",
    "Guard": "guard",
    "GuardError": "errors",
    "GuardMiddleware": "middleware",
    "GuardTransport": "client",
    "Policy": "policy",
    "Role": "segments",
    "Segment": "segments",
    "Thresholds": "policy",
    "Verdict": "verdict",
    "guarded_client": "client",
}

__all__ = [
    "Action",
    "Channel",
    "Finding",
    "Guard",
    "GuardError",
    "GuardMiddleware",
    "GuardTransport",
    "Policy",
    "Role",
    "Segment",
    "Thresholds",
    "Verdict",
    "guarded_client",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"bertguard.{_HOME[name]}"), name)
    raise AttributeError(f"module 'bertguard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
