"""Windows online without Ray, Kafka or Redis: a history that tests write to, a clock, and whoever keeps the cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from cluster.config import OfflineStoreConfig
from cluster.errors import RetryLater
from cluster.records import SourceKind
from cluster.registry.aggregation import Aggregation
from cluster.registry.catalog import FeatureSpec
from cluster.serving.online_windows import WindowSet
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.duckdb_schema import CREATE_TABLES
from cluster.stores.duckdb_windows import changes, page
from cluster.stores.memory_windows import MemoryWindowStore
from cluster.stores.ports import Since, WindowChanges, WindowPage, WindowStore
from cluster.verify.newest import ranges
from cluster.windows.panes import Pane, grouped
from cluster.windows.publishing import Publisher
from tests.window_oracle import Event, Question, answer

START = 1_767_225_600_000_000  # µs; on a full hour
SECOND = 1_000_000


def spec(of: Aggregation) -> FeatureSpec:
    return FeatureSpec(of.name, "v", "user", "user", "s", online=True, ttl_us=None, field=None, aggregation=of)


def rows_table(events: Sequence[Event]) -> pa.Table:
    return pa.table(
        {
            "entity_id": pa.array([e.entity_id for e in events], pa.string()),
            "feature_name": pa.array([e.feature for e in events], pa.string()),
            "value": pa.array([e.value for e in events], pa.float64()),
            "event_timestamp": pa.array([e.event for e in events], pa.timestamp("us")),
            "created_at": pa.array([e.created for e in events], pa.timestamp("us")),
            "source_id": pa.array([e.source_id for e in events], pa.int32()),
            "position": pa.array([e.position for e in events], pa.int64()),
        },
    )


class History:
    """The tables that a writer leaves, and the rows that they must hold. Meets WindowHistory."""

    def __init__(self, folder: Path) -> None:
        self.database = DuckDatabase(OfflineStoreConfig(path=str(folder / "windows.duckdb")))
        self.reads = DuckReads(self.database, OfflineStoreConfig())
        self._cursor = self.database.cursor()
        self.page_entities = 2
        self.empty()

    def empty(self) -> None:
        """Begin a new history."""
        self.events: list[Event] = []
        self._kinds: dict[int, SourceKind] = {}
        for table in ("features", "superseded", "batches", "sources"):
            self._cursor.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in CREATE_TABLES:
            self._cursor.execute(statement)

    def close(self) -> None:
        self._cursor.close()
        self.database.close()

    def next_position(self, source_id: int) -> int:
        return 1 + max((e.position for e in self.events if e.source_id == source_id), default=-1)

    def commit(self, kind: SourceKind, events: Sequence[Event], replaced: Sequence[Event] = ()) -> None:
        """Bring rows of one source into history in one transaction, in the place of others."""
        source_id = events[0].source_id
        self._cursor.execute("BEGIN")
        if source_id not in self._kinds:
            self._kinds[source_id] = kind
            self._cursor.execute("INSERT INTO sources (source_id, kind, registry_version) VALUES (?, ?, 1)", [source_id, kind])
        self._cursor.register("new", rows_table(events))
        self._cursor.execute("INSERT INTO features BY NAME FROM new")
        for old in replaced:
            place = [old.source_id, old.position, old.feature]
            where = "WHERE source_id = ? AND position = ? AND feature_name = ?"
            self._cursor.execute(
                f"INSERT INTO superseded BY NAME SELECT *, {source_id} AS superseded_by FROM features {where}", place
            )
            self._cursor.execute(f"DELETE FROM features {where}", place)
        positions = [e.position for e in events]
        ledger = [source_id, min(positions), max(positions) + 1, len(events), len(events)]
        self._cursor.execute(
            'INSERT INTO batches (source_id, first_position, next_position, events, "rows") VALUES (?, ?, ?, ?, ?)', ledger
        )
        self._cursor.execute("COMMIT")
        self.events = [e for e in self.events if e not in replaced] + list(events)

    def window_changes(self, panes: Sequence[Pane], since: Since, now_us: int, *, whole: bool) -> WindowChanges:
        return changes(self.reads, panes, since, now_us, whole=whole)

    def window_page(self, panes: Sequence[Pane], above: str, up_to: str | None, now_us: int) -> WindowPage:
        return page(self.reads, panes, above, up_to, now_us)

    def window_ranges(self, panes: Sequence[Pane]) -> list[tuple[str, str | None]]:
        return ranges(self.reads, sorted({name for pane in panes for name in pane.inputs}), self.page_entities)


class Shaky:
    """A WindowStore whose caller dies at one of its next steps: before it, or right after it."""

    def __init__(self, store: WindowStore) -> None:
        self.store, self.steps_left = store, -1

    def __getattr__(self, name: str) -> object:
        method = getattr(self.store, name)

        def call(*args: object, **options: object) -> object:
            if self.steps_left == 0:
                raise RetryLater("died before the step")
            found = method(*args, **options)
            self.steps_left -= 1
            if self.steps_left == 0:
                raise RetryLater("died after the step")
            return found

        return call


@dataclass
class World:
    """Aggregations, kept online by a publisher that may die."""

    history: History
    aggregations: Sequence[Aggregation]
    store: MemoryWindowStore = field(default_factory=MemoryWindowStore)
    now: int = START

    def __post_init__(self) -> None:
        self.shaky = Shaky(self.store)
        self.specs = [spec(a) for a in self.aggregations]
        self.panes = grouped(self.specs)
        self.start()

    def start(self) -> None:
        """Let another publisher take over."""
        self.publisher = Publisher(self.history, self.shaky, lambda: self.panes, lambda: self.now)  # type: ignore[arg-type]

    def online(self, entities: Sequence[str]) -> dict[str, list[float]]:
        """Return what an online read answers, by aggregation."""
        windows = WindowSet.of(self.specs, self.panes)
        values = windows.values(self.store.read(windows.panes, entities), self.now)
        return dict(zip([a.name for a in self.aggregations], values.tolist(), strict=True))

    def expected(self, entities: Iterable[str]) -> dict[str, list[float | None]]:
        """Return what nested loops find."""
        asked = [Question(entity, self.now) for entity in entities]
        return {a.name: [answer(self.history.events, a, q) for q in asked] for a in self.aggregations}
