"""What a user may ask of the DuckDB file, and everything that must be refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from cluster.config import OfflineStoreConfig
from cluster.errors import Busy, Misconfigured, Refused, RetryLater
from cluster.stores import duckdb_reads
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_guard import MAX_CHARACTERS
from cluster.stores.duckdb_reads import DuckReads

HIDDEN = "the content of a file"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guard")
    (folder / "secret.csv").write_text(f"a\n{HIDDEN}\n")
    (folder / "secret.json").write_text('{"a": 1}\n')
    return folder


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[DuckDatabase]:
    database = DuckDatabase(_config(folder))
    with database.cursor() as cursor:
        cursor.execute(
            """INSERT INTO features VALUES
            ('u', 'f', 1.5, '2026-01-01', '2026-01-01', 1, 0), ('u', 'g', NULL, '2026-01-01', '2026-01-01', 1, 0)"""
        )
    yield database
    database.close()


@pytest.fixture(scope="module")
def reads(folder: Path, database: DuckDatabase) -> DuckReads:
    return DuckReads(database, _config(folder))


def _config(folder: Path, **changes: int) -> OfflineStoreConfig:
    return OfflineStoreConfig(path=str(folder / "f.duckdb")).model_copy(update=changes)


ALLOWED = [
    "SELECT * FROM features",
    "select count(*) as n from features where value is null;",
    "  -- a comment\n /* and another */ FROM features LIMIT 1",
    "WITH a AS MATERIALIZED (SELECT 1 AS x), b AS (FROM a) SELECT * FROM b",
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < 3) SELECT * FROM r",
    "VALUES (1), (2)",
    "SELECT 1 UNION ALL SELECT 2 ORDER BY 1 LIMIT 1",
    "DESCRIBE features",
    "DESCRIBE SELECT 1 AS x",
    "SUMMARIZE features",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "EXPLAIN SELECT * FROM features",
    "explain analyze select * from features",
    "SELECT * FROM range(3), unnest([1, 2]) AS t(x)",
    "PIVOT features ON feature_name IN ('f', 'g') USING max(value)",
    "SELECT list_transform([1, 2], lambda x: x + 1), now(), upper('a')",
    "SELECT 'read_csv', 'DROP TABLE features' AS \"delete\" -- words, not deeds",
    "SELECT * FROM features ASOF JOIN features AS other USING (entity_id, event_timestamp)",
    "SELECT table_name FROM duckdb_tables()",
    "SELECT * FROM information_schema.columns",
]


@pytest.mark.parametrize("statement", ALLOWED)
def test_reading_is_allowed(reads: DuckReads, statement: str) -> None:
    assert reads.sql(statement).num_rows >= 1


WRITES = [
    "DELETE FROM features",
    "INSERT INTO features SELECT * FROM features",
    "UPDATE features SET value = 0",
    "MERGE INTO features USING (SELECT 1 AS k) ON false WHEN NOT MATCHED THEN INSERT (value) VALUES (1)",
    "TRUNCATE features",
    "DROP TABLE features",
    "ALTER TABLE features ADD COLUMN x INTEGER",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE MACRO m(a) AS a",
    "CREATE SEQUENCE s",
    "WITH d AS (DELETE FROM features RETURNING *) SELECT * FROM d",
    "WITH d AS (UPDATE features SET value = 0 RETURNING *) SELECT * FROM d",
    "WITH d AS (INSERT INTO features SELECT * FROM features RETURNING *) SELECT * FROM d",
    (
        "WITH d AS (MERGE INTO features USING (SELECT 1) ON false WHEN NOT MATCHED THEN INSERT (value) VALUES (1) RETURNING *) "
        "FROM d"
    ),
    "SELECT (WITH d AS (DELETE FROM features RETURNING value) SELECT max(value) FROM d)",
    "WITH a AS (WITH d AS (DELETE FROM features RETURNING *) FROM d) SELECT * FROM a",
    "EXPLAIN ANALYZE DELETE FROM features",
    "EXPLAIN DELETE FROM features",
    "EXPLAIN ANALYZE WITH d AS (DELETE FROM features RETURNING *) SELECT * FROM d",
    "SELECT 1; DELETE FROM features",
    "SELECT * FROM query('DELETE FROM features')",
    "PREPARE p AS DELETE FROM features",
    "SELECT nextval('s')",
]
SETTINGS = [
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "RESET memory_limit",
    "SET VARIABLE a = 1",
    "PRAGMA memory_limit = '100GB'",
    "PRAGMA table_info('features')",
    "SELECT current_setting('temp_directory')",
    "SELECT [current_setting(x) FOR x IN ['temp_directory']]",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM pg_settings",
    'SELECT * FROM pg_catalog."PG_SETTINGS"',
    "SELECT getenv('HOME')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM duckdb_logs",
    "SELECT write_log('x')",
    "SELECT setseed(0.5)",
    "SELECT sleep_ms(1)",
    "CALL enable_profiling()",
    "CHECKPOINT",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM force_checkpoint()",
    "VACUUM",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "USE memory",
]
FILES = [
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM READ_CSV_AUTO('{folder}/secret.csv')",
    "SELECT * FROM \"read_csv\"('{folder}/secret.csv')",
    "SELECT * FROM main.read_text('{folder}/secret.csv')",
    "SELECT * FROM read_blob('{folder}/*')",
    "SELECT * FROM read_json('{folder}/secret.json')",
    "SELECT * FROM read_parquet('{folder}/x.parquet')",
    "SELECT * FROM parquet_metadata('{folder}/x.parquet')",
    "SELECT * FROM read_duckdb('{folder}/f.duckdb')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM '{folder}/secret.csv'",
    "FROM '{folder}/secret.json'",
    "DESCRIBE SELECT * FROM read_csv('{folder}/secret.csv')",
    "SUMMARIZE '{folder}/secret.csv'",
    "EXPLAIN ANALYZE SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT (SELECT a FROM read_csv('{folder}/secret.csv') LIMIT 1)",
    "WITH a AS (SELECT * FROM read_text('{folder}/secret.csv')) SELECT * FROM a",
    "SELECT * FROM features WHERE entity_id IN (SELECT content FROM read_text('{folder}/secret.csv'))",
    "SELECT * FROM query('SELECT * FROM read_text(''{folder}/secret.csv'')')",
    "SELECT * FROM query_table('{folder}/secret.csv')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM 'https://example.invalid/x.csv'",
    "SELECT * FROM read_text('s3://bucket/x')",
    "COPY features TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY features FROM '{folder}/secret.csv'",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{folder}/other.duckdb' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH f",
    "INSTALL httpfs",
    "LOAD '{folder}/x.duckdb_extension'",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM python_arrow_scan(1)",
    "SELECT * FROM pandas_scan(140000000)",
    "SELECT * FROM local_variable",
]
NONSENSE = [
    "",
    ";",
    "-- nothing",
    "SELEC 1",
    "SELECT * FROM nowhere",
    "SELECT nothing FROM features",
    "SELECT $1",
    "SELECT ?",
    "SELECT CAST('x' AS INTEGER)",
    "SELECT 1; SELECT 2",
    "EXPLAIN (FORMAT json) SELECT 1",
    "PIVOT features ON feature_name USING max(value)",
    f"SELECT {'1 + ' * 700}1",
    "SELECT * FROM (" * 500 + "features" + ")" * 500,
    "(" * MAX_CHARACTERS + "SELECT 1",
]


@pytest.mark.parametrize("statement", WRITES + SETTINGS + FILES + NONSENSE)
def test_all_else_is_refused_and_changes_nothing(reads: DuckReads, folder: Path, statement: str) -> None:
    local_variable = pa.table({"x": [HIDDEN]})
    before = (reads.query("FROM features"), reads.query("SHOW ALL TABLES"), sorted(p.name for p in folder.iterdir()))

    with pytest.raises(Refused) as refused:
        reads.sql(statement.replace("{folder}", str(folder)))

    assert len(str(refused.value)) > 20
    assert HIDDEN not in str(refused.value)
    assert (reads.query("FROM features"), reads.query("SHOW ALL TABLES"), sorted(p.name for p in folder.iterdir())) == before
    assert local_variable.num_rows == 1


@pytest.mark.parametrize("statement", [w for w in WRITES if w.startswith(("DELETE", "UPDATE", "WITH", "INSERT", "TRUNCATE"))])
def test_without_the_guard_the_transaction_still_refuses_writes(reads: DuckReads, statement: str) -> None:
    with pytest.raises((Refused, RetryLater)):
        reads.query(statement)
    assert reads.query("FROM features").num_rows == 2


@pytest.mark.parametrize("statement", [f for f in FILES if "read_" in f and "query" not in f])
def test_without_the_guard_the_database_still_refuses_files(reads: DuckReads, folder: Path, statement: str) -> None:
    with pytest.raises(Refused):
        reads.query(statement.replace("{folder}", str(folder)))


def test_a_database_that_could_reach_files_is_not_read(folder: Path) -> None:
    with duckdb.connect() as open_database, pytest.raises(Misconfigured, match="enable_external_access"):
        DuckReads(open_database, _config(folder))


def test_a_result_is_never_cut_short_in_silence(folder: Path, database: DuckDatabase) -> None:
    reads = DuckReads(database, _config(folder, max_result_rows=10))
    assert reads.sql("FROM range(10)").num_rows == 10
    with pytest.raises(Refused, match=r"more than 10 rows.*max_result_rows"):
        reads.sql("FROM range(11)")
    assert reads.query("FROM range(11)").num_rows == 11, "our own reads say their limit themselves"
    with pytest.raises(Refused, match="more than 5 rows"):
        reads.query("FROM range(11)", max_rows=5)


def test_a_result_has_a_limit_in_bytes(reads: DuckReads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_reads, "MAX_RESULT_BYTES", 10_000)
    with pytest.raises(Refused, match="more than 10000 bytes"):
        reads.sql("SELECT repeat('x', 100_000)")


def test_a_long_read_is_stopped_and_the_next_one_works(folder: Path, database: DuckDatabase) -> None:
    reads = DuckReads(database, _config(folder, read_timeout_s=1))
    endless = "SELECT count(*) FROM range(100_000_000) a, range(100_000) b WHERE a.range * b.range = 7"
    with pytest.raises(Refused, match=r"longer than 1 s.*read_timeout_s"):
        reads.sql(endless)
    assert reads.sql("SELECT 1").num_rows == 1


def test_reads_wait_for_their_turn_but_not_for_ever(folder: Path, database: DuckDatabase) -> None:
    reads = DuckReads(database, _config(folder, read_wait_s=1, concurrent_reads=1))
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with reads.snapshot():
            inside.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(30)
    with pytest.raises(Busy, match="all 1 readers were busy"):
        reads.sql("SELECT 1")
    leave.set()
    holder.join(30)
    assert reads.sql("SELECT 1").num_rows == 1


def test_parameters_and_snapshots(reads: DuckReads, database: DuckDatabase) -> None:
    asked = pa.table({"name": ["f", "h"]})
    with reads.snapshot({"asked": asked}) as snapshot:
        found = snapshot.query("SELECT value FROM features JOIN asked ON name = feature_name")
        assert found["value"].to_pylist() == [1.5]
        with database.cursor() as writer:
            writer.execute("INSERT INTO sources VALUES (9, 'stream', 't', 0, NULL, 1, now()::TIMESTAMP, 0, NULL)")
        assert snapshot.query("FROM sources WHERE source_id = ?", [9]).num_rows == 0, "a snapshot does not move"
    assert reads.query("FROM sources WHERE source_id = ?", [9]).num_rows == 1


def test_a_cancelled_read_really_ends(folder: Path, database: DuckDatabase) -> None:
    reads = DuckReads(database, _config(folder))
    endless = "SELECT count(*) AS n FROM range(100_000_000) a, range(100_000) b WHERE a.range * b.range = 7"
    inside, ended = threading.Event(), threading.Event()
    said: list[str] = []

    def read() -> None:
        try:
            with reads.snapshot({}, "r1") as snapshot:
                inside.set()
                snapshot.query(endless)
        except RetryLater as error:
            said.append(str(error))
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert inside.wait(30)
    reads.cancel("r1")
    assert ended.wait(30)
    reader.join(30)
    assert "cancelled" in said[0]


def test_a_cancel_may_come_before_its_read(reads: DuckReads) -> None:
    reads.cancel("early")
    with pytest.raises(RetryLater, match="cancelled"), reads.snapshot({}, "early"):
        raise AssertionError
