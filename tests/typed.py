"""Random JSON for a type: what an SDK could send, by the SDK's own types."""

from __future__ import annotations

import base64
import enum
import types
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from pydantic import BaseModel
from typing_extensions import ReadOnly, TypeAliasType, get_type_hints

_LISTS = (list, tuple, set, frozenset, Iterable, Sequence)
_WRAPPERS = (Required, NotRequired, ReadOnly, Annotated)
_DEEPEST = 9


def sample(kind: Any, rng: Random, texts: Sequence[str], depth: int = 0) -> Any:
    """A JSON value that the type takes; every string in it is one of `texts`."""
    if isinstance(kind, TypeAliasType):
        return sample(kind.__value__, rng, texts, depth)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in _WRAPPERS or isinstance(origin, TypeAliasType):  # Mistral's Nullable[…]
        return sample(inner[0], rng, texts, depth)
    if origin is Literal:
        return rng.choice(inner)
    if origin in (Union, types.UnionType):
        return _either(inner, rng, texts, depth)
    if origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":  # OpenAI's
        count = 0 if depth > _DEEPEST else rng.randint(0, 2)
        item = next((t for t in inner if t is not Ellipsis), str)
        return [sample(item, rng, texts, depth + 1) for _ in range(count)]
    if origin in (dict, Mapping) or kind is dict:
        value = inner[1] if inner and depth <= _DEEPEST else str
        return {rng.choice(("a", "b", "text")): sample(value, rng, texts, depth + 1)}
    if isinstance(kind, type):
        return _plain(kind, rng, texts, depth)
    return rng.choice(texts)  # Any, object, a TypeVar, what is not known here


def _either(kinds: Sequence[Any], rng: Random, texts: Sequence[str], depth: int) -> Any:
    if depth > _DEEPEST:
        for simple in (type(None), str):
            if simple in kinds:
                return sample(simple, rng, texts, depth)
    some = [kind for kind in kinds if kind is not type(None) and not isinstance(kind, TypeVar)]
    return sample(rng.choice(some or [type(None)]), rng, texts, depth)


def _plain(kind: type, rng: Random, texts: Sequence[str], depth: int) -> Any:
    if kind is type(None):
        return None
    if issubclass(kind, enum.Enum):
        return rng.choice([member.value for member in kind])
    if kind in (bool, int, float):
        return kind(rng.randint(0, 1))
    if issubclass(kind, bytes):
        return base64.b64encode(rng.choice(texts).encode()).decode()
    if issubclass(kind, BaseModel):
        hints = {
            field.alias or name: field.annotation
            for name, field in kind.model_fields.items()
            # What tells the members of a union apart may have a default.
            if field.is_required()
            or name in ("role", "type")
            or (depth <= _DEEPEST and rng.random() < 0.4)
        }
        return {name: sample(hint, rng, texts, depth + 1) for name, hint in hints.items()}
    if hasattr(kind, "__required_keys__"):
        return {
            name: sample(hint, rng, texts, depth + 1)
            for name, hint in _hints(kind).items()
            if _needed(kind, name, hint) or (depth <= _DEEPEST and rng.random() < 0.35)
        }
    return rng.choice(texts)


_SEEN: dict[type, dict[str, Any]] = {}


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _SEEN:
        _SEEN[kind] = get_type_hints(kind, include_extras=True)
    return _SEEN[kind]


def _needed(kind: type, name: str, hint: Any) -> bool:
    required: frozenset[str] = kind.__required_keys__  # type: ignore[attr-defined]
    if get_origin(hint) is NotRequired:
        return False
    return get_origin(hint) is Required or name in required
