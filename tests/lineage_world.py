"""A history in DuckDB whose every value is known: two versions of the definitions, a stream, a file and a replay."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

from cluster.config import OfflineStoreConfig
from cluster.records import Origin
from cluster.registry.catalog import build
from cluster.registry.definitions import (
    DType,
    Entity,
    FeatureFunction,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    Mode,
    StreamSource,
    Wide,
)
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.ports import Definitions, Upload, UploadState
from tests.batches import Row, make_batch

NOW = 1_800_000_000_000_000
DAY = 86_400_000_000
RECORDS = Wide("user_id", "at", (Field("amount"), Field("rate", DType.INT64)))
ORDERS = StreamSource("orders", "shop.orders", RECORDS, description="what was bought")
USER = Entity("user", "user_id", "somebody")
TOTAL = FeatureFunction("total", lambda amount: amount, Mode.NUMPY, ("amount",), description="in euros", source_hash="1")
LOG = FeatureFunction("total_log", lambda total: total, Mode.PANDAS, ("total",), source_hash="1")
AGES = FeatureView("person", USER, FileSource("people", RECORDS), [Field("amount")])
RATED = replace(TOTAL, function=lambda amount, rate: amount * rate, inputs=("amount", "rate"), source_hash="2")
ORDER = FeatureView(
    "order", USER, ORDERS, [RATED, LOG], online=True, ttl=timedelta(days=7), owner="shop", tags=("money", "live")
)
MODEL = FeatureService("model", [ORDER, "person:amount"])

BEFORE = build("shop", [replace(ORDER, features=[TOTAL])])
CATALOG = build("shop", [ORDER, AGES, MODEL]).registered_as(2)


def total(position: int, value: float | None, event: int, entity: str = "user_1", name: str = "total") -> Row:
    return entity, name, value, NOW + event, NOW + event + 5, position


class LineageWorld:
    """Its clock says NOW, NOW + 1, ... so that `committed_at` tells transactions apart."""

    def __init__(self, folder: Path) -> None:
        config = OfflineStoreConfig(path=str(folder / "f.duckdb"), group_commit_ms=0)
        self.store = DuckStore(config, count(NOW).__next__)
        self.reads = DuckReads(self.store.database, config)
        for content, catalog in (("before", BEFORE), ("now", CATALOG)):
            self.store.register(Definitions(content, catalog.describe(), b"", "me"))
        self._stream()
        self._upload()
        self._replay()

    def close(self) -> None:
        self.store.close()

    def _stream(self) -> None:
        """Read offsets 0 to 3 under version 1, rejecting 3, and 4 under version 2."""
        epoch = self.store.open_partition("shop.orders", 0, 0).epoch
        old, new = Origin.stream("shop.orders", 0, 1), Origin.stream("shop.orders", 0, 2)
        rows = [total(0, 1.5, 0), total(1, 2.5, DAY), total(2, None, DAY, "user_2")]
        self.store.commit(make_batch(old, epoch, (0, 4), rows, rejected=[3]))
        self.store.commit(make_batch(new, epoch, (4, 5), [total(4, 4.5, 2 * DAY), total(4, 0.5, 2 * DAY, name="total_log")]))

    def _upload(self) -> None:
        self.store.begin_upload(Upload("up-1", "k", "people.csv", "people", "csv", "aa", 1, UploadState.RECEIVING))
        origin = Origin.upload("up-1", 2)
        self.store.open_upload("up-1", origin)
        self.store.append_upload("up-1", 0, make_batch(origin, 0, (0, 1), [total(0, 7.0, 0, name="amount")]))
        self.store.commit_upload("up-1", 1)

    def _replay(self) -> None:
        of = Origin.stream("shop.orders", 0, 1)
        self.store.commit_replay("r", of, make_batch(of.replayed_under(2), 0, (3, 4), [total(3, 3.5, 3 * DAY, "user_3")]))
