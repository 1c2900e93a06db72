"""Why a message could not be decoded: looked at only after it failed, with the standard library's lenient parser."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cluster.records import Reason

Why = tuple[Reason, str]

_INT64 = range(-(2**63), 2**63)


class Kind(StrEnum):
    """What a named field of a message may be. The last four are spelled like the declared types."""

    ID = "id"
    TIME = "time"
    FLOAT64 = "float64"
    INT64 = "int64"
    STRING = "string"
    BOOL = "bool"


@dataclass(frozen=True, slots=True)
class Slot:
    """A named field of a message. `nullable` allows null, `required` forbids leaving it out."""

    name: str
    kind: Kind
    required: bool = True
    nullable: bool = False


def explain(value: bytes | None, slots: Sequence[Slot], max_bytes: int, *, strict: bool) -> Why:
    """Return the reason why `value` is not a record with these fields, and a detail that names the field at fault.

    The first fault counts: of the message as a whole, then of the fields in their order, then of the names.
    """
    if value is None:
        return Reason.TOMBSTONE, "the message has no value"
    if len(value) > max_bytes:
        return Reason.TOO_LARGE, f"the message is longer than {max_bytes} bytes (ingest.max_record_bytes)"
    if not value.strip():
        return Reason.EMPTY_MESSAGE, "the message is empty"
    try:
        found = json.loads(value.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return _explain_error(error)
    if not isinstance(found, dict):
        return Reason.NOT_AN_OBJECT, "the message is JSON, but not an object"
    return _explain_object(found, slots, strict=strict)


def _explain_error(error: Exception) -> Why:
    if isinstance(error, UnicodeDecodeError):
        return Reason.INVALID_UTF8, f"not UTF-8 at byte {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return Reason.MALFORMED_JSON, f"not JSON at character {error.pos}"
    if isinstance(error, RecursionError):
        return Reason.MALFORMED_JSON, "nested too deeply"
    return Reason.NOT_FINITE, "a number has too many digits"  # Python's limit for integers, 4300


def _explain_object(found: Mapping[str, Any], slots: Sequence[Slot], *, strict: bool) -> Why:
    for slot in slots:
        if slot.name not in found:
            if slot.required:
                return Reason.MISSING_FIELD, f"'{slot.name}' is missing"
        elif why := _explain_field(found[slot.name], slot):
            return why
    if strict and not found.keys() <= {slot.name for slot in slots}:
        return Reason.UNKNOWN_FIELD, "there is a field that the source does not declare"
    # What the standard library lets pass: NaN and lone surrogates in fields that nobody asked for, a repeated name
    # whose first value was wrong.
    return Reason.MALFORMED_JSON, "not JSON by the book: NaN, Infinity, a lone surrogate, or a name that is repeated"


def _explain_field(value: Any, slot: Slot) -> Why | None:
    if value is None:
        return None if slot.nullable else (Reason.MISSING_FIELD, f"'{slot.name}' is null")
    if isinstance(value, float) and not math.isfinite(value):
        return Reason.NOT_FINITE, f"'{slot.name}' is not a finite number"
    if isinstance(value, str) and not _is_unicode(value):
        return Reason.MALFORMED_JSON, f"'{slot.name}' has a lone surrogate"
    fits, wanted = _WANTED[slot.kind]
    if not fits(value):
        return Reason.WRONG_TYPE, f"'{slot.name}' is not {wanted}"
    return _explain_number(value, slot) if isinstance(value, int) else None


def _explain_number(value: int, slot: Slot) -> Why | None:
    if slot.kind is Kind.FLOAT64:
        try:
            float(value)
        except OverflowError:
            return Reason.NOT_FINITE, f"'{slot.name}' is not a finite number"
    if slot.kind is Kind.INT64 and value not in _INT64:
        return Reason.OUT_OF_RANGE, f"'{slot.name}' does not fit 64 bits"
    if slot.kind is Kind.TIME and value not in _INT64:
        return Reason.BAD_TIME, f"'{slot.name}' is not a time from 1970 to 2262"
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_WANTED: Mapping[Kind, tuple[Callable[[Any], bool], str]] = {
    Kind.ID: (lambda value: isinstance(value, str) or _is_whole(value), "text or a whole number"),
    Kind.TIME: (lambda value: isinstance(value, str) or _is_whole(value), "text or a whole number"),
    Kind.FLOAT64: (_is_number, "a number"),
    Kind.INT64: (_is_whole, "a whole number"),
    Kind.STRING: (lambda value: isinstance(value, str), "text"),
    Kind.BOOL: (lambda value: isinstance(value, bool), "true or false"),
}
