"""What comes out of SQL is what went in: random tables as files, through the upload service into a real DuckDB file.

The oracle is pyarrow's own reading of the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.config import IngestConfig, OfflineStoreConfig, UploadsConfig
from cluster.registry.catalog import build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, FileSource, Wide, feature
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import OfflineStore, UploadState
from cluster.uploads import LocalPieceRunner, UploadHeader, UploadService

NOW_US = 1_800_000_000_000_000
LATEST_US = 1_700_000_000_000_000  # a piece looks at the real clock
HALF = 2**32


@feature(outputs=("big_high", "big_low"))
def halves(big: int) -> tuple[int, int]:
    return divmod(big, HALF)


@feature()
def text_sum(text: str | None) -> int | None:
    return None if text is None else zlib.crc32(text.encode())


SOURCE = FileSource(
    "tables",
    Wide(
        join_key="id",
        event_timestamp="at",
        created_at="known",
        fields=(
            Field("number", optional=True),
            Field("count", DType.INT64, optional=True),
            Field("flag", DType.BOOL, optional=True),
            Field("text", DType.STRING, optional=True),
            Field("big", DType.INT64),
        ),
    ),
)
PLAIN = [Field("number"), Field("count"), Field("flag")]
CATALOG = build("tables", [FeatureView("v", Entity("e", "id"), SOURCE, [*PLAIN, halves, text_sum], online=True)]).registered_as(
    1
)

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "at": pa.timestamp("us"),
        "known": pa.timestamp("us"),
        "number": pa.float64(),
        "count": pa.int64(),
        "flag": pa.bool_(),
        "text": pa.string(),
        "big": pa.int64(),
    }
)
times = st.integers(0, LATEST_US) | st.sampled_from([0, 999_999, 1_000_000, LATEST_US])
int64s = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1, 0])
printable = st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from('éßЖ中🙂Ω",;|')
awkward = st.sampled_from(['"', '""', "\n", "\r", "\r\n", ",", ";", "|", "\t", " ", "é", "🙂", "\ufeff", "null", "\\"])
record = st.fixed_dictionaries(
    {
        "id": st.text(printable, min_size=1, max_size=8),
        "at": times,
        "known": st.none() | times,
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "count": st.none() | int64s,
        "flag": st.none() | st.booleans(),
        "text": st.none()
        | st.lists(awkward | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))).map("".join),
        "big": int64s,
    }
)
tables = st.lists(record, min_size=1, max_size=12).map(lambda rows: pa.Table.from_pylist(rows, SCHEMA))


class Value(NamedTuple):
    """A feature row as SQL has it; the value as text that tells all doubles apart."""

    position: int
    entity_id: str
    feature: str
    value: str
    at: int
    known: int


@dataclass(frozen=True)
class Layout:
    """How a file of a format is written, and how pyarrow reads it."""

    format: str
    options: dict[str, str]
    write: Callable[[pa.Table], bytes]
    read: Callable[[bytes], pa.Table]


def as_csv(delimiter: str, *, crlf: bool) -> Layout:
    def write(table: pa.Table) -> bytes:
        sink = io.BytesIO()
        options = pyarrow.csv.WriteOptions(delimiter=delimiter, eol="\r\n" if crlf else "\n")
        pyarrow.csv.write_csv(table, sink, options)
        return sink.getvalue()

    def read(content: bytes) -> pa.Table:
        return pyarrow.csv.read_csv(
            io.BytesIO(content),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=SCHEMA, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )

    return Layout("csv", {"delimiter": delimiter}, write, read)


def as_jsonl(*, ascii_only: bool) -> Layout:
    def line(row: dict[str, Any]) -> str:
        found = {**row, "at": row["at"].isoformat(), "known": row["known"] and row["known"].isoformat()}
        return json.dumps(found, ensure_ascii=ascii_only)

    def write(table: pa.Table) -> bytes:
        return "".join(line(row) + "\n" for row in table.to_pylist()).encode()

    def read(content: bytes) -> pa.Table:
        options = pyarrow.json.ParseOptions(explicit_schema=SCHEMA)
        return pyarrow.json.read_json(io.BytesIO(content), parse_options=options)

    return Layout("jsonl", {}, write, read)


def as_parquet(group: int, zone: str | None) -> Layout:
    def write(table: pa.Table) -> bytes:
        sink = io.BytesIO()
        zoned = table.set_column(1, "at", table["at"].cast(pa.timestamp("us", zone)))
        pq.write_table(zoned, sink, row_group_size=group)
        return sink.getvalue()

    return Layout("parquet", {}, write, lambda content: pq.read_table(io.BytesIO(content)).cast(SCHEMA))


layouts = {
    "csv": st.builds(as_csv, st.sampled_from(",;|\t"), crlf=st.booleans()),
    "jsonl": st.builds(as_jsonl, ascii_only=st.booleans()),
    "parquet": st.builds(as_parquet, st.integers(1, 12), st.sampled_from([None, "UTC", "Europe/Berlin"])),
}


class World:
    """A DuckDB file, and an upload service for each file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        config = OfflineStoreConfig(path=str(folder / "features.duckdb"), threads=1)
        self.store = DuckStore(config, lambda: NOW_US)
        self._reads = DuckReads(self.store.database, config)
        self._keys = itertools.count()

    def take(self, layout: Layout, content: bytes, piece_bytes: int) -> tuple[str, MemoryOnlineStore]:
        """Send a file; return its upload id, and the online store that it went to."""
        port, online = cast("OfflineStore", self.store), MemoryOnlineStore()  # the reads are another class
        config = UploadsConfig(spool=str(self._folder / "spool"), piece_bytes=piece_bytes, min_free_bytes=0)
        runner = LocalPieceRunner(IngestConfig(), port)
        service = UploadService(port, online, lambda: CATALOG, config, runner, lambda: NOW_US)
        sha256, key = hashlib.sha256(content).hexdigest(), f"key-{next(self._keys)}"
        header = UploadHeader("table", SOURCE.name, layout.format, len(content), sha256, key, layout.options)
        try:
            *_, last = service.submit(header, iter([content]))
        finally:
            service.close()
        assert (last.upload.state, last.upload.rejected) == (UploadState.DONE, 0)
        return last.upload.upload_id, online

    def values(self, upload_id: str) -> list[Value]:
        """Return what `raytide sql` returns of a file."""
        found = self._reads.sql(
            "SELECT position, entity_id, feature_name, value, epoch_us(event_timestamp) AS at, "
            "epoch_us(features.created_at) AS known FROM features JOIN sources USING (source_id) "
            f"WHERE upload_id = '{upload_id}'"
        )
        return sorted(Value(*row.values())._replace(value=repr(row["value"])) for row in found.to_pylist())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    opened = World(tmp_path_factory.mktemp("round trip"))
    yield opened
    opened.store.close()


def expected(table: pa.Table) -> list[Value]:
    """Return the feature rows of a table, by code that is obviously right."""
    found = []
    for position, row in enumerate(table.set_column(1, "at", table["at"].cast(pa.int64())).to_pylist()):
        known = table["known"][position].cast(pa.int64()).as_py()
        values = {
            "number": row["number"],
            "count": None if row["count"] is None else float(row["count"]),
            "flag": None if row["flag"] is None else float(row["flag"]),
            "big_high": float(row["big"] // HALF),
            "big_low": float(row["big"] % HALF),
            "text_sum": None if row["text"] is None else float(zlib.crc32(row["text"].encode())),
        }
        when = row["at"], NOW_US if known is None else known
        found += [Value(position, row["id"], name, repr(value), *when) for name, value in values.items()]
    return sorted(found)


Online = dict[tuple[str, str], float | None]


def newest(values: list[Value]) -> Online:
    """Return the value of each entity and feature that has to be online, by value: the sign of a zero gets lost on the way."""
    newest_last = sorted(values, key=lambda v: (v.at, v.known, v.position))
    return {(v.entity_id, v.feature): None if v.value == "None" else float(v.value) for v in newest_last}


def online_values(online: MemoryOnlineStore, wanted: Online) -> Online:
    found: Online = {}
    for entity, name in wanted:
        read = online.read([entity], [name])
        assert read.found[0][0]
        found[entity, name] = None if read.null[0][0] else float(read.values[0][0])
    return found


def check_round_trip(world: World, data: st.DataObject, format_: str) -> None:
    layout, table = data.draw(layouts[format_]), data.draw(tables)
    content = layout.write(table)
    wanted = expected(layout.read(content))
    assert wanted == expected(table), "pyarrow reads what was meant"
    upload_id, online = world.take(layout, content, data.draw(st.integers(1, 2000)))
    assert world.values(upload_id) == wanted
    assert online_values(online, newest(wanted)) == newest(wanted)


@pytest.mark.parametrize("format_", list(layouts))
@given(st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sql_returns_what_a_file_holds(world: World, format_: str, data: st.DataObject) -> None:
    check_round_trip(world, data, format_)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("format_", list(layouts))
@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sql_returns_what_many_files_hold(world: World, format_: str, data: st.DataObject) -> None:
    check_round_trip(world, data, format_)
