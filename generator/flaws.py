"""Ways for a message to be wrong. Each takes the fields of a good message and returns the bytes of a bad one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

Fields = dict[str, Any]
Flaw = Callable[[Fields], bytes | None]

_encode = msgspec.json.Encoder().encode


def _with(name: str, value: Any) -> Flaw:
    return lambda fields: _encode({**fields, name: value})


def _without(name: str) -> Flaw:
    return lambda fields: _encode({key: value for key, value in fields.items() if key != name})


def _raw(name: str, token: bytes) -> Flaw:
    """Put a token into the JSON text that no encoder would write."""
    return lambda fields: _encode({**fields, name: "@"}).replace(b'"@"', token)


def _far_ahead(name: str) -> Flaw:
    def ahead(fields: Fields) -> bytes:
        time: datetime = fields[name]
        return _encode({**fields, name: time + timedelta(days=3650)})

    return ahead


def _common(entity: str, time: str, number: str) -> dict[str, Flaw]:
    return {
        "broken_json": lambda fields: _encode(fields)[:-7],
        "not_an_object": lambda fields: _encode(list(fields.values())),
        "missing_entity": _without(entity),
        "missing_time": _without(time),
        "wrong_type": _with(number, ["a", "list"]),
        "nan_token": _raw(number, b"NaN"),
        "nan_text": _with(number, "NaN"),
        "infinite": _raw(number, b"1e999"),
        "empty_entity": _with(entity, ""),
        "long_entity": _with(entity, "x" * 257),
        "control_character": _with(entity, "user\u0007"),
        "time_garbage": _with(time, "the day before yesterday"),
        "far_future": _far_ahead(time),
        "empty_message": lambda _fields: b"",
        "tombstone": lambda _fields: None,
        "invalid_utf8": _raw(entity, b'"user_\xff\xfe"'),
        "deep_nesting": _raw(number, b"[" * 5_000 + b"]" * 5_000),
    }


LONG: Mapping[str, Flaw] = {
    **_common("entity_id", "validated_at", "value"),
    "missing_feature": _without("feature_name"),
    "unknown_feature": _with("feature_name", "no_such_feature"),
}
WIDE: Mapping[str, Flaw] = _common("user_id", "timestamp", "amount")
