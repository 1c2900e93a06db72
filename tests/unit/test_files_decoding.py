"""Each bad file: which rows are rejected, why, and that all the others are there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.config import IngestConfig
from cluster.ingest.files.decoder import DecodedPiece, compile_file_decoder
from cluster.ingest.split import Format, SplitOptions, layout_of, split
from cluster.records import Reason
from cluster.registry.catalog import AnySource, Catalog, build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, FileSource, Long, Wide

NOW_US = 1_800_000_000_000_000
CREATED_US = 1_700_000_000_000_000
USER = Entity("user", "user_id")
LONG = FileSource("features", Long())
WIDE = FileSource(
    "orders",
    Wide(
        join_key="user_id",
        event_timestamp="timestamp",
        timestamp_unit="ms",
        fields=(
            Field("amount", minimum=0),
            Field("count", DType.INT64),
            Field("paid", DType.BOOL, optional=True),
            Field("note", DType.STRING, optional=True),
        ),
    ),
)
VIEWS = [FeatureView("ages", USER, LONG, [Field("age"), Field("score")]), FeatureView("order", USER, WIDE, [Field("amount")])]
HEADER = "entity_id,feature_name,value,event_timestamp\n"
GOOD = "u1,age,1.5,2024-05-01T10:00:00Z\n"
WIDE_HEADER = "user_id,amount,count,paid,note,timestamp\n"


@pytest.fixture
def catalog() -> Catalog:
    return build("demo", VIEWS)


def decode(catalog: Catalog, file: Path, source: AnySource = LONG) -> DecodedPiece:
    format_ = Format(file.suffix[1:])
    (piece,) = split(file, format_, SplitOptions(layout_of(source), 1 << 20, 10_000))
    decoded = compile_file_decoder(source, catalog, IngestConfig(max_record_bytes=10_000), format_)(piece, CREATED_US, NOW_US)
    accounted = [*decoded.events.position.to_pylist(), *(r.position for r in decoded.rejected)]
    assert sorted(accounted) == list(range(piece.rows))
    return decoded


def write(tmp_path: Path, text: str | bytes, suffix: str = "csv") -> Path:
    file = tmp_path / f"file.{suffix}"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def reasons(decoded: DecodedPiece) -> list[tuple[int, str]]:
    return [(r.position, str(r.reason)) for r in decoded.rejected]


def test_a_long_csv_becomes_events(catalog: Catalog, tmp_path: Path) -> None:
    text = HEADER + GOOD + "7,score,,1714557600000000\n" + '"u,2",age,-1e3,2024-05-01 10:00:00+02:00\n'
    decoded = decode(catalog, write(tmp_path, text))
    assert decoded.rejected == []
    assert decoded.events.entity_id.to_pylist() == ["u1", "7", "u,2"]
    assert decoded.events.columns["value"].to_pylist() == [1.5, None, -1000.0]
    assert decoded.events.columns["feature_name"].to_pylist() == ["age", "score", "age"]
    ten = datetime(2024, 5, 1, 10, tzinfo=UTC).replace(tzinfo=None)
    assert decoded.events.event_timestamp.to_pylist() == [ten, ten, ten.replace(hour=8)]
    assert set(decoded.events.created_at.cast(pa.int64()).to_pylist()) == {CREATED_US}


CSV_ROWS = [
    ("u1,age,1\n", Reason.MALFORMED_ROW, "3 fields where the header has 4"),
    ("u1,age,1,2024-05-01,more\n", Reason.MALFORMED_ROW, "5 fields where the header has 4"),
    ('u1,"age,1,2024-05-01\n', Reason.MALFORMED_ROW, "never closed"),
    ('u"1",age,1,2024-05-01\n', Reason.MALFORMED_ROW, "quote inside an unquoted field"),
    ('"u1"x,age,1,2024-05-01\n', Reason.MALFORMED_ROW, "quote inside an unquoted field"),
    ("u1\0,age,1,2024-05-01\n", Reason.MALFORMED_ROW, "NUL"),
    ("u1" + "x" * 10_001 + ",age,1,2024-05-01\n", Reason.TOO_LARGE, "10000 bytes"),
    ("u1,age,one,2024-05-01\n", Reason.WRONG_TYPE, "'value' is not a number"),
    ('u1,age,"",2024-05-01\n', Reason.WRONG_TYPE, "'value' is not a number"),
    ("u1,age,0x10,2024-05-01\n", Reason.WRONG_TYPE, "'value'"),
    ("u1,age,NaN,2024-05-01\n", Reason.NOT_FINITE, "'value'"),
    ("u1,age,-inf,2024-05-01\n", Reason.NOT_FINITE, "'value'"),
    ("u1,age,1e999,2024-05-01\n", Reason.NOT_FINITE, "'value'"),
    ("u1,height,1,2024-05-01\n", Reason.UNKNOWN_FEATURE, "'feature_name'"),
    ("u1,,1,2024-05-01\n", Reason.MISSING_FIELD, "'feature_name'"),
    (",age,1,2024-05-01\n", Reason.MISSING_FIELD, "'entity_id'"),
    ('"",age,1,2024-05-01\n', Reason.BAD_ENTITY_ID, "'entity_id'"),
    ('"u\n1",age,1,2024-05-01\n', Reason.BAD_ENTITY_ID, "'entity_id'"),
    ("u" * 257 + ",age,1,2024-05-01\n", Reason.BAD_ENTITY_ID, "'entity_id'"),
    ("u1,age,1,\n", Reason.MISSING_FIELD, "'event_timestamp'"),
    ("u1,age,1,yesterday\n", Reason.BAD_TIME, "'event_timestamp'"),
    ("u1,age,1,99999999999999999999\n", Reason.BAD_TIME, "'event_timestamp'"),
    ("u1,age,1,2200-01-01\n", Reason.TIME_IN_FUTURE, "'event_timestamp'"),
]


@pytest.mark.parametrize("case", CSV_ROWS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_bad_csv_row_is_rejected_alone(
    catalog: Catalog, tmp_path: Path, case: tuple[str, Reason, str], line_end: str
) -> None:
    row, reason, detail = case
    bad = row.rstrip("\n")
    text = "".join(r.rstrip("\n") + line_end for r in (HEADER, GOOD, GOOD, bad, GOOD, GOOD))
    decoded = decode(catalog, write(tmp_path, text))
    (rejected,) = decoded.rejected
    assert (rejected.position, rejected.reason) == (2, reason)
    assert detail in rejected.detail
    assert rejected.payload == bad.encode()[: 1024 if reason is Reason.TOO_LARGE else None]
    assert decoded.events.position.to_pylist() == [0, 1, 3, 4]


def test_all_bad_csv_rows_in_one_file_keep_their_numbers(catalog: Catalog, tmp_path: Path) -> None:
    text = HEADER + "".join(GOOD + row for row, _, _ in CSV_ROWS) + GOOD
    decoded = decode(catalog, write(tmp_path, text))
    assert reasons(decoded) == [(2 * i + 1, str(reason)) for i, (_, reason, _) in enumerate(CSV_ROWS)]
    assert len(decoded.events) == len(CSV_ROWS) + 1


def test_a_csv_row_that_is_not_utf8_is_rejected_alone(catalog: Catalog, tmp_path: Path) -> None:
    rows = (HEADER + GOOD).encode() + b"u\xff,age,1,2024-05-01\n" + "ü,age,1,2024-05-01\n".encode()
    decoded = decode(catalog, write(tmp_path, rows))
    assert reasons(decoded) == [(1, "invalid_utf8")]
    assert decoded.events.entity_id.to_pylist() == ["u1", "ü"]


def test_a_csv_file_of_bad_rows_only_is_all_rejects(catalog: Catalog, tmp_path: Path) -> None:
    decoded = decode(catalog, write(tmp_path, HEADER + "u1,age\n" * 3))
    assert reasons(decoded) == [(n, "malformed_row") for n in range(3)]
    assert len(decoded.events) == 0


def test_a_wide_csv_is_typed_as_declared(catalog: Catalog, tmp_path: Path) -> None:
    text = WIDE_HEADER + 'u1,1,2,TRUE,"",1714557600000\n' + "u2,2.5,-3,false,,2024-05-01T10:00:00Z\n" + "u3,0,0,,x,2024-05-01\n"
    decoded = decode(catalog, write(tmp_path, text), WIDE)
    assert decoded.rejected == []
    columns = {name: array.to_pylist() for name, array in decoded.events.columns.items()}
    assert columns == {
        "amount": [1.0, 2.5, 0.0],
        "count": [2, -3, 0],
        "paid": [True, False, None],
        "note": ["", None, "x"],
    }
    first, second, _ = decoded.events.event_timestamp.to_pylist()
    assert first == second


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("u,1,2.0,,,2024-05-01", Reason.WRONG_TYPE, "'count' is not an integer"),
        ("u,1,0x1,,,2024-05-01", Reason.WRONG_TYPE, "'count'"),
        ("u,1,9223372036854775808,,,2024-05-01", Reason.WRONG_TYPE, "'count'"),
        ("u,1,2,yes,,2024-05-01", Reason.WRONG_TYPE, "'paid'"),
        ("u,,2,,,2024-05-01", Reason.MISSING_FIELD, "'amount'"),
        ("u,-1,2,,,2024-05-01", Reason.OUT_OF_RANGE, "'amount'"),
        ("u,x,y,z,,never", Reason.WRONG_TYPE, "'amount'"),
    ],
)
def test_a_bad_wide_csv_row_is_rejected_alone(catalog: Catalog, tmp_path: Path, row: str, reason: Reason, detail: str) -> None:
    good = "u,1,9223372036854775807,true,,2024-05-01\n"
    decoded = decode(catalog, write(tmp_path, f"{WIDE_HEADER}{good}{row}\n{good}"), WIDE)
    assert reasons(decoded) == [(1, str(reason))]
    assert detail in decoded.rejected[0].detail


def test_columns_that_are_missing_or_unknown_do_not_matter(catalog: Catalog, tmp_path: Path) -> None:
    text = "timestamp,extra,user_id,count,amount\n2024-05-01,?,u,1,2\n"
    decoded = decode(catalog, write(tmp_path, text), WIDE)
    assert {name: array.to_pylist() for name, array in decoded.events.columns.items()} == {
        "amount": [2.0],
        "count": [1],
        "paid": [None],
        "note": [None],
    }


def test_a_default_stands_for_an_empty_cell_and_for_a_column_that_is_not_there(tmp_path: Path) -> None:
    fields = (Field("amount", default=1.5), Field("count", DType.INT64, default=7))
    source = FileSource("defaults", Wide("user_id", "timestamp", fields))
    known = build("p", [FeatureView("order", USER, source, [Field("amount")])])
    decoded = decode(known, write(tmp_path, "user_id,timestamp,amount\nu,2024-05-01,\nu,2024-05-01,2\n"), source)
    assert decoded.rejected == []
    columns = {name: array.to_pylist() for name, array in decoded.events.columns.items()}
    assert columns == {"amount": [1.5, 2.0], "count": [7, 7]}


def test_another_delimiter_makes_commas_plain_text(catalog: Catalog, tmp_path: Path) -> None:
    file = write(tmp_path, (HEADER + 'u;1,age,1,2024-05-01\n"u;2",age,1,2024-05-01\n').translate(str.maketrans(",;", ";,")))
    (piece,) = split(file, Format.CSV, SplitOptions(layout_of(LONG), 1 << 20, 1000, delimiter=";"))
    decoded = compile_file_decoder(LONG, catalog, IngestConfig(), Format.CSV)(piece, CREATED_US, NOW_US)
    assert decoded.events.entity_id.to_pylist() == ["u,1", "u,2"]


def test_broken_json_lines_are_rejected_alone_and_blank_ones_are_no_rows(catalog: Catalog, tmp_path: Path) -> None:
    good = json.dumps({"entity_id": "u1", "feature_name": "age", "value": 1, "event_timestamp": "2024-05-01"})
    lines = [good, "", "{", "[1]", '{"entity_id": "u1"}', good.replace("1,", "NaN,"), "  ", good, good[:-1]]
    decoded = decode(catalog, write(tmp_path, "\r\n".join(lines), "jsonl"))
    assert [position for position, _ in reasons(decoded)] == [1, 2, 3, 4, 6]
    assert reasons(decoded)[:3] == [(1, "malformed_json"), (2, "not_an_object"), (3, "missing_field")]
    assert [r.payload for r in decoded.rejected[:2]] == [b"{", b"[1]"]
    assert decoded.events.position.to_pylist() == [0, 5]


def test_a_json_line_that_is_too_long_is_rejected_alone(catalog: Catalog, tmp_path: Path) -> None:
    good = json.dumps({"entity_id": "u1", "feature_name": "age", "value": 1, "event_timestamp": "2024-05-01"})
    decoded = decode(catalog, write(tmp_path, f"{good}\n{good}{' ' * 10_000}x\n{good}", "jsonl"))
    assert reasons(decoded) == [(1, "too_large")]


def parquet(tmp_path: Path, columns: dict[str, pa.Array]) -> Path:
    file = tmp_path / "file.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def long_columns(**changed: pa.Array) -> dict[str, pa.Array]:
    return {
        "entity_id": pa.array(["u1", "u2", "u3"]),
        "feature_name": pa.array(["age"] * 3),
        "value": pa.array([1.0, None, 3.0]),
        "event_timestamp": pa.array([1_714_557_600_000_000] * 3, pa.timestamp("us", "UTC")),
        **changed,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"entity_id": pa.array(["u1", "u2", "u3"]).dictionary_encode()},
        {"entity_id": pa.array(["u1", "u2", "u3"], pa.large_string())},
        {"feature_name": pa.array(["age"] * 3).dictionary_encode()},
        {"value": pa.array([1, None, 3], pa.int32())},
        {"value": pa.array([1, None, 3], pa.float32())},
        {"value": pa.array([1, None, 3]).cast(pa.decimal128(30, 2))},
        {"event_timestamp": pa.array([1_714_557_600_000_000] * 3)},
        {"event_timestamp": pa.array([1_714_557_600_000_000_000] * 3, pa.timestamp("ns"))},
        {"event_timestamp": pa.array(["2024-05-01T10:00:00Z"] * 3)},
        {"event_timestamp": pa.array([1_714_557_600_000] * 3, pa.timestamp("ms", "Europe/Berlin"))},
        {"extra": pa.array([[1], [2], [3]])},
    ],
)
def test_parquet_types_that_mean_the_same_read_the_same(catalog: Catalog, tmp_path: Path, changed: dict[str, pa.Array]) -> None:
    decoded = decode(catalog, parquet(tmp_path, long_columns(**changed)))
    assert decoded.rejected == []
    assert decoded.events.entity_id.to_pylist() == ["u1", "u2", "u3"]
    assert decoded.events.columns["value"].to_pylist() == [1.0, None, 3.0]
    assert set(decoded.events.event_timestamp.cast(pa.int64()).to_pylist()) == {1_714_557_600_000_000}


def test_integer_entity_ids_and_dates_of_a_parquet_file_are_read(catalog: Catalog, tmp_path: Path) -> None:
    columns = long_columns(entity_id=pa.array([1, 2, 3]), event_timestamp=pa.array([19_844] * 3, pa.date32()))
    decoded = decode(catalog, parquet(tmp_path, columns))
    assert decoded.events.entity_id.to_pylist() == ["1", "2", "3"]
    assert decoded.events.event_timestamp[0].as_py() == datetime(2024, 5, 1, tzinfo=UTC).replace(tzinfo=None)


def test_a_bad_parquet_row_is_rejected_alone_with_itself_as_json(catalog: Catalog, tmp_path: Path) -> None:
    columns = long_columns(value=pa.array([1.0, float("nan"), 3.0]), feature_name=pa.array(["age", "age", None]))
    decoded = decode(catalog, parquet(tmp_path, columns))
    assert reasons(decoded) == [(1, "not_finite"), (2, "missing_field")]
    assert json.loads(decoded.rejected[0].payload or b"")["value"] == "nan"
    assert json.loads(decoded.rejected[1].payload or b"") == {
        "entity_id": "u3",
        "feature_name": None,
        "value": 3.0,
        "event_timestamp": "2024-05-01 10:00:00+00:00",
    }
    assert decoded.events.entity_id.to_pylist() == ["u1"]


def test_parquet_text_that_is_not_utf8_is_rejected_alone(catalog: Catalog, tmp_path: Path) -> None:
    ids = pa.array([b"u1", b"\xff\xfe", None], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, ids.buffers())
    decoded = decode(catalog, parquet(tmp_path, long_columns(entity_id=broken)))
    assert reasons(decoded) == [(1, "invalid_utf8"), (2, "missing_field")]
    assert json.loads(decoded.rejected[0].payload or b"")["entity_id"] == "\\xff\\xfe"


def test_parquet_integers_beyond_64_bits_signed_are_rejected_alone(catalog: Catalog, tmp_path: Path) -> None:
    columns = {
        "user_id": pa.array(["u"] * 2),
        "amount": pa.array([1.0] * 2),
        "count": pa.array([2**64 - 1, 2**63 - 1], pa.uint64()),
        "timestamp": pa.array([1_714_557_600_000] * 2),
    }
    decoded = decode(catalog, parquet(tmp_path, columns), WIDE)
    assert reasons(decoded) == [(0, "wrong_type")]
    assert decoded.events.columns["count"].to_pylist() == [2**63 - 1]


def test_the_row_of_an_event_can_be_looked_up_for_later_faults(catalog: Catalog, tmp_path: Path) -> None:
    text = HEADER + GOOD + "bad\n" + 'u2,"a\nge",1,2024-05-01\n' + GOOD
    decoded = decode(catalog, write(tmp_path, text))
    assert decoded.raw(3) == GOOD.rstrip().encode()
    assert decoded.raw(2) == b'u2,"a\nge",1,2024-05-01'
