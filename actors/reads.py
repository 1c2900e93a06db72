"""What a gateway's reads of features need: definitions, the newest values, and history through the writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from actors.backfill_client import BackfillClient
from actors.definitions import InForce
from actors.handles import quietly
from cluster.app import App
from cluster.gateway.backend import Read
from cluster.lineage.features import alike, stored_versions
from cluster.monitoring.metrics import Metrics
from cluster.registry import loader
from cluster.registry.catalog import Catalog, FeatureSpec
from cluster.serving.asof import Terms, asking, finished, with_features
from cluster.serving.computed import base_of
from cluster.stores.redis import RedisOnlineStore


class FeatureReads:
    """Meets the gateway's ReadingBackend. Online reads go straight to Redis."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.definitions, self.function_seconds = InForce(app), app.config.ingest.transform_timeout_s
        quietly(self.definitions.look, None)  # while the writer is away: the supervisor says later when to look
        self.offline = BackfillClient()
        self.online = RedisOnlineStore(app.redis_url, app.config.online_store, metrics)

    def catalog(self) -> Catalog:
        """Return the definitions in force."""
        return self.definitions.catalog()

    def catalog_of(self, version: int, /) -> Catalog:
        """Return the definitions of a registry version; 0 means those in force."""
        if version == 0:
            return self.catalog()
        return loader.from_bytes(self.offline.shipped(version)).registered_as(version)

    def historical(self, entity_rows: pa.Table, specs: Sequence[FeatureSpec], terms: Terms, read: Read) -> pa.Table:
        """Join features as they were at each row's time; only the columns that the join looks at go to the writer."""
        asked = asking(entity_rows, specs, terms)
        if read.registry_version:
            stored = stored_versions(self.offline)
            versions = {name: alike(name, stored, read.registry_version) for spec in specs for name in spec.rows}
            terms = replace(terms, versions=versions)
        columns = self.offline.join(asked, base_of(specs), terms, read.read_id)
        return with_features(entity_rows, finished(columns, specs, terms, self.function_seconds))

    def cancel_historical(self, read_id: str, /) -> None:
        """Stop a read that nobody waits for any more."""
        quietly(lambda: self.offline.cancel_read(read_id), None)

    def close(self) -> None:
        """Let go of the stores."""
        self.online.close()
