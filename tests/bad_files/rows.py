"""One bad row between good ones, for every format and every reason that a row of a file can have."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from tests.bad_files.case import Case, Done, Reject, csv, csv_line, good_rows, json_line, jsonl, parquet
from tests.bad_files.world import MAX_RECORD_BYTES, good

BAD_AT, COUNT = 2, 5
GOOD_AT = [position for position in range(COUNT) if position != BAD_AT]
KEPT = 1024

#: Reason, source, and what is different in the bad record: the same in all formats.
RECORDS: list[tuple[str, str, dict[str, object]]] = [
    ("missing_field", "features", {"entity_id": None}),
    ("missing_field", "features", {"feature_name": None}),
    ("missing_field", "features", {"event_timestamp": None}),
    ("missing_field", "orders", {"amount": None}),
    ("missing_field", "orders", {"count": None}),
    ("out_of_range", "features", {"value": 151.0}),
    ("out_of_range", "orders", {"amount": -0.5}),
    ("out_of_range", "orders", {"kind": "c"}),
    ("out_of_range", "orders", {"kind": ""}),
    ("out_of_range", "orders", {"amount": 1e300}),
    ("unknown_feature", "features", {"feature_name": "Age"}),
    ("unknown_feature", "features", {"feature_name": ""}),
    ("unknown_feature", "features", {"feature_name": "height"}),
    ("bad_entity_id", "features", {"entity_id": ""}),
    ("bad_entity_id", "features", {"entity_id": "u" * 257}),
    ("bad_entity_id", "features", {"entity_id": "u\t2"}),
    ("bad_entity_id", "features", {"entity_id": "u\n2"}),
    ("bad_entity_id", "features", {"entity_id": "u\x7f"}),
    ("bad_entity_id", "features", {"entity_id": "u\u200b"}),
    ("bad_entity_id", "features", {"entity_id": "u\u2028"}),
    ("bad_time", "features", {"event_timestamp": "yesterday"}),
    ("bad_time", "features", {"event_timestamp": ""}),
    ("bad_time", "features", {"event_timestamp": "1969-12-31T23:59:59Z"}),
    ("bad_time", "features", {"event_timestamp": "2262-04-11T00:00:00Z"}),
    ("bad_time", "features", {"event_timestamp": "2024-02-30"}),
    ("bad_time", "features", {"event_timestamp": "2024-13-01"}),
    ("bad_time", "features", {"event_timestamp": "2024-05-01T24:00:00Z"}),
    ("bad_time", "features", {"event_timestamp": "2024-05-01T10:00:60Z"}),
    ("bad_time", "features", {"event_timestamp": "01.05.2024"}),
    ("bad_time", "features", {"event_timestamp": "2024-05-01T10:00:00+25:00"}),
    ("bad_time", "features", {"event_timestamp": "2024/05/01"}),
    ("bad_time", "strict", {"known_at": "soon"}),
    ("time_in_future", "features", {"event_timestamp": "2200-01-01"}),
    ("time_in_future", "strict", {"known_at": "2200-01-01"}),
    ("transform_failed", "orders", {"count": 0}),
    ("transform_timeout", "slow", {"seconds": 1.0}),
    ("too_large", "slow", {"note": "x" * (MAX_RECORD_BYTES + 1)}),
]

#: Lines that only CSV can have, in place of a record of `features`.
CSV_LINES = [
    ("malformed_row", b"u2,age,1"),
    ("malformed_row", b"u2,age,1,2024-05-01,more"),
    ("malformed_row", b"u2"),
    ("malformed_row", b" "),
    ("malformed_row", b",,,,"),
    ("malformed_row", b'u2,"age,1,2024-05-01'),
    ("malformed_row", b'"u2,age,1,2024-05-01'),
    ("malformed_row", b'u2,age,1,2024-05-01"'),
    ("malformed_row", b'u"2",age,1,2024-05-01'),
    ("malformed_row", b'"u2"x,age,1,2024-05-01'),
    ("malformed_row", b' "u2",age,1,2024-05-01'),
    ("malformed_row", b"u\0" + b"2,age,1,2024-05-01"),
    ("malformed_row", b"{}"),
    ("invalid_utf8", b"u\xff,age,1,2024-05-01"),
    ("invalid_utf8", b"u\xc0\x80,age,1,2024-05-01"),
    ("invalid_utf8", b"u\xed\xa0\x80,age,1,2024-05-01"),
    ("invalid_utf8", "ü,age,1,2024-05-01".encode("latin-1")),
    ("too_large", b"u2,age,1," + b"0" * MAX_RECORD_BYTES),
    ("too_large", b"x" * 50_000),
    ("wrong_type", b"u2,age,one,2024-05-01"),
    ("wrong_type", b'u2,age,"",2024-05-01'),
    ("wrong_type", b"u2,age, 1,2024-05-01"),
    ("wrong_type", b"u2,age,1_000,2024-05-01"),
    ("wrong_type", b"u2,age,0x10,2024-05-01"),
    ("wrong_type", b'u2,age,"1,5",2024-05-01'),
    ("wrong_type", b"u2,age,true,2024-05-01"),
    ("wrong_type", b"u2,age,null,2024-05-01"),
    ("not_finite", b"u2,age,NaN,2024-05-01"),
    ("not_finite", b"u2,age,-inf,2024-05-01"),
    ("not_finite", b"u2,age,Infinity,2024-05-01"),
    ("not_finite", b"u2,age,1e999,2024-05-01"),
    ("bad_time", b"u2,age,1,99999999999999999999"),
    ("bad_time", b"u2,age,1,-1"),
    ("time_in_future", b"u2,age,1,9000000000000000"),
    ("missing_field", b",,,"),
]

#: Lines that only JSON Lines can have: reason, source, line.
JSON_LINES = [
    ("malformed_json", "features", b"{"),
    ("malformed_json", "features", b'{"entity_id": "u2"'),
    ("malformed_json", "features", b"entity_id,value"),
    ("malformed_json", "features", b'{"entity_id": "u2",}'),
    ("malformed_json", "features", b"{'entity_id': 'u2'}"),
    ("malformed_json", "features", b'{"entity_id": "u2"} // why'),
    ("malformed_json", "features", b"{} {}"),
    ("malformed_json", "features", b'{"entity_id": "u\x01"}'),
    ("malformed_json", "features", b"{\0}"),
    ("malformed_json", "features", b"[" * 900),
    ("malformed_json", "features", b"\xc2\xa0"),
    ("not_an_object", "features", b"[1]"),
    ("not_an_object", "features", b'[{"entity_id": "u2"}]'),
    ("not_an_object", "features", b'"text"'),
    ("not_an_object", "features", b"1"),
    ("not_an_object", "features", b"null"),
    ("not_an_object", "features", b"true"),
    ("missing_field", "features", b"{}"),
    ("missing_field", "features", b'{"Entity_Id": "u2", "feature_name": "age", "value": 1, "event_timestamp": 1}'),
    ("empty_message", "features", b"\x0c"),
    ("too_large", "features", b"x" * 50_000),
    ("too_large", "features", b" " * 50_000 + b"x"),
    ("unknown_field", "strict", json_line({**good("strict", 2), "more": 1})),
    ("invalid_utf8", "features", b'{"entity_id": "\xff"}'),
    ("invalid_utf8", "features", b'{"entity_id": "\xc0\x80"}'),
    ("invalid_utf8", "features", b'{"entity_id": "\xed\xa0\x80"}'),
]

#: What a value of a JSON record may wrongly be: reason, source, field, its text.
JSON_VALUES = [
    ("wrong_type", "features", "value", b'"1"'),
    ("wrong_type", "features", "value", b"true"),
    ("wrong_type", "features", "value", b'{"a": 1}'),
    ("wrong_type", "features", "value", b"[1]"),
    ("wrong_type", "features", "entity_id", b"1.0"),
    ("wrong_type", "features", "entity_id", b"false"),
    ("wrong_type", "features", "feature_name", b"7"),
    ("wrong_type", "features", "event_timestamp", b"1.5e15"),
    ("wrong_type", "orders", "count", b"2.0"),
    ("wrong_type", "orders", "count", b'"2"'),
    ("wrong_type", "orders", "paid", b"1"),
    ("wrong_type", "orders", "kind", b"1"),
    ("not_finite", "features", "value", b"NaN"),
    ("not_finite", "features", "value", b"-Infinity"),
    ("not_finite", "features", "value", b"1e999"),
    ("not_finite", "features", "value", b"1" + b"0" * 400),
    ("out_of_range", "orders", "count", b"9223372036854775808"),
    ("bad_time", "features", "event_timestamp", b"-1"),
    ("bad_time", "features", "event_timestamp", b"99999999999999999999"),
    ("malformed_json", "features", "entity_id", rb'"\ud800"'),
    ("malformed_json", "features", "value", b"+1"),
    ("malformed_json", "features", "value", b"01"),
    ("malformed_json", "features", "value", b".5"),
    ("malformed_json", "features", "value", b'"x", "value": 1'),
    ("malformed_json", "features", "value", b'1, "more": NaN'),
]


def cases() -> Iterator[Case]:
    """Yield a file for each of them."""
    for number, (reason, source, changed) in enumerate(RECORDS):
        for format_ in ("csv", "jsonl", "parquet"):
            yield _of_record(f"{format_}:{reason}:{number}", format_, reason, source, changed)
    for number, (reason, line) in enumerate(CSV_LINES):
        for name, end in {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}.items():
            lines = [csv_line(good("features", n)) for n in range(COUNT)]
            lines[BAD_AT] = line
            content = csv(lines, end=end)
            yield Case(f"csv-{name}:{reason}:{number}", "csv", content, _done("features", reason, line))
    json_lines = [*JSON_LINES, *((reason, source, _with(source, name, text)) for reason, source, name, text in JSON_VALUES)]
    for number, (reason, source, line) in enumerate(json_lines):
        lines = [json_line(good(source, n)) for n in range(COUNT)]
        lines[BAD_AT] = line
        yield Case(f"jsonl:{reason}:line{number}", "jsonl", jsonl(lines), _done(source, reason, line), source)


def _of_record(name: str, format_: str, reason: str, source: str, changed: dict[str, object]) -> Case:
    records = [good(source, n) for n in range(COUNT)]
    records[BAD_AT] = {**records[BAD_AT], **changed}
    if format_ == "parquet":
        columns = {column: pa.array([record[column] for record in records]) for column in records[0]}
        payload = None if reason != "too_large" else b'{"seconds": 0.0, "note": "xxx'
        return Case(name, format_, parquet(columns), _done(source, reason, payload), source)
    to_line, to_file = (csv_line, csv) if format_ == "csv" else (json_line, jsonl)
    lines = [to_line(record) for record in records]
    content = csv(lines, source) if to_file is csv else jsonl(lines)
    return Case(name, format_, content, _done(source, reason, lines[BAD_AT]), source)


def _with(source: str, field: str, text: bytes) -> bytes:
    """Return a JSON record with this text for a field's value."""
    return json_line({**good(source, BAD_AT), field: "HERE"}).replace(b'"HERE"', text)


def _done(source: str, reason: str, payload: bytes | None) -> Done:
    return Done(good_rows(source, GOOD_AT), [Reject(BAD_AT, reason, payload)])
