"""Every kind of bad Kafka value: each gets its reason, and the good neighbours are all there."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest

from cluster.config import IngestConfig
from cluster.ingest.decode import Decoder, compile_decoder
from cluster.records import Headers, Reason, Records, Rejected
from cluster.registry.catalog import build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, Long, StreamSource, Wide

NOW = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
RECEIVED = NOW - 5_000_000
USER = Entity("user", "user_id")
LONG = Long(event_timestamp="validated_at", created_at="created_at")
WIDE = Wide(
    join_key="user_id",
    event_timestamp="timestamp",
    timestamp_unit="ms",
    fields=(
        Field("amount", minimum=0),
        Field("currency", DType.STRING, allowed=("EUR", "USD")),
        Field("items", DType.INT64, minimum=1, maximum=99, optional=True),
        Field("gift", DType.BOOL, optional=True),
    ),
)
FEATURES = [Field("clicks", minimum=0, maximum=1000), Field("risk"), Field("age", allowed=(18, 21))]


def decoder_of(shape: Long | Wide, ingest: IngestConfig | None = None) -> Decoder:
    source = StreamSource("s", "topic", shape)
    features = FEATURES if isinstance(shape, Long) else [Field("amount")]
    catalog = build("p", [FeatureView("v", USER, source, features)])
    return compile_decoder(source, catalog, ingest or IngestConfig())


def records_of(values: list[bytes | None], meta: Callable[[int], tuple[bytes | None, Headers]] | None = None) -> Records:
    count = len(values)
    records = Records(100, 100 + 2 * count, 100 + 2 * np.arange(count), values, np.full(count, RECEIVED))
    return replace(records, meta=meta) if meta else records


def long_record(**changes: object) -> bytes:
    good = {"id": "x", "entity_id": "user_1", "feature_name": "risk", "value": 0.5, "validated_at": "2025-05-01T10:00:00Z"}
    return json.dumps({name: value for name, value in (good | changes).items() if value is not ...}).encode()


def wide_record(**changes: object) -> bytes:
    good = {"order_id": 7, "user_id": "user_1", "amount": 3, "currency": "EUR", "timestamp": 1_746_093_600_000}
    return json.dumps({name: value for name, value in (good | changes).items() if value is not ...}).encode()


def raw(name: str, literal: bytes, record: Callable[..., bytes] = long_record) -> bytes:
    return record(**{name: "<here>"}).replace(b'"<here>"', literal)


@dataclass(frozen=True)
class Bad:
    value: bytes | None
    reason: Reason
    names: str  # what the detail must mention


DEEP = b'{"entity_id": "a", "x": ' + b"[" * 1_000_000

BAD_LONG = {
    "tombstone": Bad(None, Reason.TOMBSTONE, "no value"),
    "empty": Bad(b"", Reason.EMPTY_MESSAGE, "empty"),
    "blank": Bad(b" \r\n\t", Reason.EMPTY_MESSAGE, "empty"),
    "over the limit": Bad(long_record(id="x" * 2_000_000), Reason.TOO_LARGE, "bytes"),
    "not json": Bad(b"hello", Reason.MALFORMED_JSON, "character 0"),
    "cut off": Bad(long_record()[:-1], Reason.MALFORMED_JSON, "character"),
    "two documents": Bad(long_record() + long_record(), Reason.MALFORMED_JSON, "character"),
    "joined to its neighbour": Bad(long_record() + b",", Reason.MALFORMED_JSON, "character"),
    "byte order mark": Bad(b"\xef\xbb\xbf" + long_record(), Reason.MALFORMED_JSON, "character 0"),
    "nested lists": Bad(DEEP[:1_000_000], Reason.MALFORMED_JSON, "nested"),
    "nested objects": Bad(b'{"a":' * 190_000, Reason.MALFORMED_JSON, "nested"),
    "invalid utf-8": Bad(raw("entity_id", b'"\xff\xfe"'), Reason.INVALID_UTF8, "byte"),
    "utf-8 of a surrogate": Bad(raw("entity_id", b'"\xed\xa0\x80"'), Reason.INVALID_UTF8, "byte"),
    "latin-1": Bad("ü".encode("latin-1"), Reason.INVALID_UTF8, "byte 0"),
    "lone surrogate": Bad(raw("entity_id", rb'"\ud800"'), Reason.MALFORMED_JSON, "entity_id"),
    "lone surrogate elsewhere": Bad(raw("id", rb'"\ud800"'), Reason.MALFORMED_JSON, "surrogate"),
    "NaN elsewhere": Bad(raw("id", b"NaN"), Reason.MALFORMED_JSON, "NaN"),
    "list": Bad(b"[1]", Reason.NOT_AN_OBJECT, "object"),
    "null": Bad(b"null", Reason.NOT_AN_OBJECT, "object"),
    "number": Bad(b"1", Reason.NOT_AN_OBJECT, "object"),
    "text": Bad(b'"{}"', Reason.NOT_AN_OBJECT, "object"),
    "no fields": Bad(b"{}", Reason.MISSING_FIELD, "entity_id"),
    "no entity id": Bad(long_record(entity_id=...), Reason.MISSING_FIELD, "entity_id"),
    "no feature name": Bad(long_record(feature_name=...), Reason.MISSING_FIELD, "feature_name"),
    "no value": Bad(long_record(value=...), Reason.MISSING_FIELD, "value"),
    "no time": Bad(long_record(validated_at=...), Reason.MISSING_FIELD, "validated_at"),
    "null entity id": Bad(long_record(entity_id=None), Reason.MISSING_FIELD, "entity_id"),
    "null time": Bad(long_record(validated_at=None), Reason.MISSING_FIELD, "validated_at"),
    "value is text": Bad(long_record(value="1"), Reason.WRONG_TYPE, "value"),
    "value is a boolean": Bad(long_record(value=True), Reason.WRONG_TYPE, "value"),
    "value is a list": Bad(long_record(value=[1]), Reason.WRONG_TYPE, "value"),
    "entity id is a boolean": Bad(long_record(entity_id=True), Reason.WRONG_TYPE, "entity_id"),
    "entity id is a fraction": Bad(long_record(entity_id=1.5), Reason.WRONG_TYPE, "entity_id"),
    "entity id is an object": Bad(long_record(entity_id={}), Reason.WRONG_TYPE, "entity_id"),
    "feature name is a number": Bad(long_record(feature_name=1), Reason.WRONG_TYPE, "feature_name"),
    "time is a fraction": Bad(long_record(validated_at=1.5), Reason.WRONG_TYPE, "validated_at"),
    "NaN": Bad(raw("value", b"NaN"), Reason.NOT_FINITE, "value"),
    "Infinity": Bad(raw("value", b"Infinity"), Reason.NOT_FINITE, "value"),
    "-Infinity": Bad(raw("value", b"-Infinity"), Reason.NOT_FINITE, "value"),
    "1e999": Bad(raw("value", b"1e999"), Reason.NOT_FINITE, "value"),
    "400 digits": Bad(raw("value", b"9" * 400), Reason.NOT_FINITE, "value"),
    "5000 digits": Bad(raw("value", b"9" * 5000), Reason.NOT_FINITE, "digits"),
    "entity id of 400 digits": Bad(raw("entity_id", b"9" * 400), Reason.BAD_ENTITY_ID, "entity_id"),
    "time of 400 digits": Bad(raw("validated_at", b"9" * 400), Reason.BAD_TIME, "validated_at"),
    "unknown feature": Bad(long_record(feature_name="nope"), Reason.UNKNOWN_FEATURE, "feature_name"),
    "empty entity id": Bad(long_record(entity_id=""), Reason.BAD_ENTITY_ID, "entity_id"),
    "entity id too long": Bad(long_record(entity_id="x" * 257), Reason.BAD_ENTITY_ID, "256"),
    "entity id with a newline": Bad(long_record(entity_id="a\nb"), Reason.BAD_ENTITY_ID, "print"),
    "entity id with NUL": Bad(long_record(entity_id="a\0b"), Reason.BAD_ENTITY_ID, "print"),
    "entity id with a C1 control": Bad(long_record(entity_id="a\x85b"), Reason.BAD_ENTITY_ID, "print"),
    "unparseable time": Bad(long_record(validated_at="yesterday"), Reason.BAD_TIME, "validated_at"),
    "30 February": Bad(long_record(validated_at="2025-02-30T00:00:00Z"), Reason.BAD_TIME, "validated_at"),
    "before 1970": Bad(long_record(validated_at="1969-12-31T23:59:59Z"), Reason.BAD_TIME, "validated_at"),
    "negative time": Bad(long_record(validated_at=-1), Reason.BAD_TIME, "validated_at"),
    "far in the future": Bad(long_record(validated_at="2026-01-01T00:05:00.000001Z"), Reason.TIME_IN_FUTURE, "validated_at"),
    "nanoseconds taken for microseconds": Bad(
        long_record(validated_at=1_746_093_600_000_000_000), Reason.BAD_TIME, "validated_at"
    ),
    "bad created at": Bad(long_record(created_at="?"), Reason.BAD_TIME, "created_at"),
    "created in the future": Bad(long_record(created_at="2030-01-01T00:00:00Z"), Reason.TIME_IN_FUTURE, "created_at"),
    "below the minimum": Bad(long_record(feature_name="clicks", value=-1), Reason.OUT_OF_RANGE, "clicks"),
    "above the maximum": Bad(long_record(feature_name="clicks", value=1000.1), Reason.OUT_OF_RANGE, "clicks"),
    "not allowed": Bad(long_record(feature_name="age", value=20), Reason.OUT_OF_RANGE, "age"),
}

BAD_WIDE = {
    "no amount": Bad(wide_record(amount=...), Reason.MISSING_FIELD, "amount"),
    "null amount": Bad(wide_record(amount=None), Reason.MISSING_FIELD, "amount"),
    "amount is text": Bad(wide_record(amount="3"), Reason.WRONG_TYPE, "amount"),
    "amount is NaN": Bad(raw("amount", b"NaN", wide_record), Reason.NOT_FINITE, "amount"),
    "amount too low": Bad(wide_record(amount=-0.01), Reason.OUT_OF_RANGE, "amount"),
    "currency unknown": Bad(wide_record(currency="XYZ"), Reason.OUT_OF_RANGE, "currency"),
    "items is a fraction": Bad(wide_record(items=1.5), Reason.WRONG_TYPE, "items"),
    "items is a boolean": Bad(wide_record(items=True), Reason.WRONG_TYPE, "items"),
    "items too many": Bad(wide_record(items=100), Reason.OUT_OF_RANGE, "items"),
    "items beyond what a double can tell apart": Bad(wide_record(items=2**60 + 1), Reason.OUT_OF_RANGE, "items"),
    "items beyond 64 bits": Bad(wide_record(items=2**63), Reason.OUT_OF_RANGE, "items"),
    "gift is a number": Bad(wide_record(gift=1), Reason.WRONG_TYPE, "gift"),
    "microseconds taken for milliseconds": Bad(wide_record(timestamp=1_746_093_600_000_000), Reason.BAD_TIME, "timestamp"),
    "no user": Bad(wide_record(user_id=...), Reason.MISSING_FIELD, "user_id"),
}


def run(shape: Long | Wide, values: list[bytes | None]) -> tuple[list[int], list[Rejected]]:
    events, rejected = decoder_of(shape)(records_of(values), NOW)
    return events.position.to_pylist(), rejected


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        *(pytest.param(LONG, long_record(), bad, id=f"long: {name}") for name, bad in BAD_LONG.items()),
        *(pytest.param(WIDE, wide_record(), bad, id=f"wide: {name}") for name, bad in BAD_WIDE.items()),
    ],
)
def test_a_bad_record_is_rejected_and_its_neighbours_are_not(shape: Long | Wide, good: bytes, bad: Bad) -> None:
    positions, rejected = run(shape, [good, bad.value, good, good])
    assert positions == [100, 104, 106]
    (reject,) = rejected
    assert (reject.position, reject.reason, reject.payload) == (102, bad.reason, bad.value)
    assert bad.names in reject.detail


@pytest.mark.parametrize(("shape", "good", "corpus"), [(LONG, long_record(), BAD_LONG), (WIDE, wide_record(), BAD_WIDE)])
def test_all_bad_records_in_one_batch_are_told_apart(shape: Long | Wide, good: bytes, corpus: dict[str, Bad]) -> None:
    values = [value for bad in corpus.values() for value in (bad.value, good)]
    positions, rejected = run(shape, values)
    assert positions == [102 + 4 * index for index in range(len(corpus))]
    assert [reject.reason for reject in rejected] == [bad.reason for bad in corpus.values()]
    assert [reject.position for reject in rejected] == [100 + 4 * index for index in range(len(corpus))]


def test_a_detail_never_shows_data() -> None:
    secrets = [long_record(entity_id="hunter2\n"), long_record(feature_name="hunter2"), long_record(validated_at="hunter2")]
    _, rejected = run(LONG, [*secrets, b"hunter2", long_record(value="hunter2")])
    assert len(rejected) == 5
    assert not any("hunter2" in reject.detail for reject in rejected)


def test_key_and_headers_are_looked_up_for_rejects_only() -> None:
    asked = []

    def meta(index: int) -> tuple[bytes | None, Headers]:
        asked.append(index)
        return b"key", (("id", b"1"),)

    records = records_of([long_record(), b"bad", long_record()], meta)
    _, (reject,) = decoder_of(LONG)(records, NOW)
    assert asked == [1]
    assert (reject.key, reject.headers) == (b"key", (("id", b"1"),))


def test_a_record_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    size = len(long_record())
    decode = decoder_of(LONG, IngestConfig(max_record_bytes=size))
    events, (reject,) = decode(records_of([long_record(), None, long_record(id="xy")][::2]), NOW)
    assert events.position.to_pylist() == [100]
    assert reject.reason is Reason.TOO_LARGE


def test_strict_sources_refuse_fields_that_they_do_not_declare() -> None:
    _, (reject,) = run(replace(LONG, strict=True), [long_record(), long_record(id=...)])
    assert (reject.position, reject.reason) == (100, Reason.UNKNOWN_FIELD)
    _, (reject,) = run(replace(WIDE, strict=True), [wide_record(), wide_record(order_id=...)])
    assert (reject.position, reject.reason) == (100, Reason.UNKNOWN_FIELD)


def test_no_records_are_no_events() -> None:
    events, rejected = decoder_of(LONG)(records_of([]), NOW)
    assert (len(events), rejected) == (0, [])
