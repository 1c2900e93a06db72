"""Opens the DuckDB file, once for each process, and hands out cursors."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from cluster.config import OfflineStoreConfig
from cluster.errors import Misconfigured, Refused
from cluster.stores.duckdb_schema import CREATE_TABLES, SCHEMA_VERSION, UPGRADES

#: Size of the log after which DuckDB checkpoints by itself: stalls are rare and stay below half a second (decision 0005).
WAL_AUTOCHECKPOINT = "64MB"


class DuckDatabase:
    """The file, held by this process alone, with its tables made.

    Arrow tables reach statements by `register` only (no replacement scans), and no statement can touch files or the
    network or switch that on again. Opening raises Misconfigured when the file cannot be used, Refused when another
    process holds it.
    """

    def __init__(self, config: OfflineStoreConfig) -> None:
        self.path = Path(config.path).absolute()
        self._root = self._open(config)
        try:
            self._prepare()
        except BaseException:
            self._root.close()
            raise

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own for one thread; the caller closes it."""
        return self._root.cursor()

    def close(self) -> None:
        """Checkpoint and let go of the file, once every cursor is closed too."""
        self._root.close()

    @property
    def bytes_on_disk(self) -> tuple[int, int]:
        """Return the sizes of the file and of its write-ahead log."""
        return _size(self.path), _size(self.path.with_name(self.path.name + ".wal"))

    @property
    def free_bytes(self) -> int:
        """Return what is free on the file's disk."""
        return shutil.disk_usage(self.path.parent).free

    def _open(self, config: OfflineStoreConfig) -> duckdb.DuckDBPyConnection:
        settings = {
            "memory_limit": config.memory_limit,
            "threads": config.threads,
            "wal_autocheckpoint": WAL_AUTOCHECKPOINT,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "enable_external_access": False,
            "python_enable_replacements": False,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return duckdb.connect(str(self.path), config=settings)
        except (duckdb.Error, OSError) as error:
            raise self._cannot_open(error) from error

    def _cannot_open(self, error: Exception) -> Exception:
        cause = str(error).splitlines()[0]
        if "Conflicting lock" in cause or "Could not set lock" in cause:
            return Refused(
                f"{self.path} is held by another process: {cause}; stop that one (`raytide down`), or set another "
                "offline_store.path. Read the data with `raytide sql` while it runs",
            )
        return Misconfigured(f"{self.path} cannot be opened: {cause}; correct offline_store in feature_store.yaml")

    def _prepare(self) -> None:
        self._root.execute("SET GLOBAL TimeZone = 'UTC'")
        known = self._schema_version()
        if known is None:
            self._run(CREATE_TABLES, "INSERT INTO meta VALUES (?)", SCHEMA_VERSION)
            return
        while known in UPGRADES:
            self._run(UPGRADES[known], "UPDATE meta SET schema_version = ?", known + 1)
            known += 1
        if known != SCHEMA_VERSION:
            raise Misconfigured(
                f"{self.path} has schema version {known}, this Raytide knows {SCHEMA_VERSION}: use the Raytide that wrote "
                "it, or set another offline_store.path",
            )

    def _schema_version(self) -> int | None:
        tables = self._root.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        if not tables:
            return None
        if ("meta",) not in tables:
            raise Misconfigured(f"{self.path} is not a Raytide file: set another offline_store.path")
        [(version,)] = self._root.execute("SELECT schema_version FROM meta").fetchall()
        return int(version)

    def _run(self, statements: Sequence[str], set_version: str, version: int) -> None:
        self._root.execute("BEGIN")
        for statement in statements:
            self._root.execute(statement)
        self._root.execute(set_version, [version])
        self._root.execute("COMMIT")
        # Log replay of DDL is where old DuckDB files broke: keep DDL out of the log.
        self._root.execute("CHECKPOINT")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
