"""A running Raytide in Feast's words. One object, any number of threads; needs no Ray, except for `apply`.

    store = FeatureStore("feature_store.yaml")     # or the address of a gateway, "127.0.0.1:50051"
    store.get_online_features("fraud_v1", [{"user_id": "user_1"}]).to_dict()

Errors are those of `cluster.errors`; see `raytide.client`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from cluster.errors import BadFile, Misconfigured
from cluster.registry import loader
from cluster.registry.definitions import FeatureService
from cluster.registry.plan import Change, compare
from cluster.registry.versions import in_force
from cluster.status import OnlineReport
from cluster.stores.ports import UploadState
from raytide.answers import UploadView
from raytide.client import RaytideClient
from raytide.online_response import EntityRows, Features, OnlineQuestion, OnlineResponse
from raytide.places import Place

#: Every call but uploads and rebuilds ends within this many seconds, tries included.
TIMEOUT_S = 60.0


class HistoricalJob:
    """A point-in-time join that is asked for once, when its rows are wanted."""

    def __init__(self, join: Callable[[], pa.Table]) -> None:
        self._join = join

    @cached_property
    def _rows(self) -> pa.Table:
        return self._join()

    def to_arrow(self) -> pa.Table:
        """Return the entity rows with their features."""
        return self._rows

    def to_df(self) -> pd.DataFrame:
        """Return the same as a frame."""
        frame: pd.DataFrame = self._rows.to_pandas()
        return frame


class FeatureStore:
    """Talks to the gateway of `project` (a feature_store.yaml, its folder) or at `project` (host:port)."""

    def __init__(self, project: str | Path = ".", timeout_s: float = TIMEOUT_S) -> None:
        self._place = Place.of(project)
        #: Everything that Raytide can do and Feast has no word for.
        self.client = RaytideClient(self._place.address, timeout_s, self._place.access)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self.client.close()

    def get_online_features(
        self,
        features: Features,
        entity_rows: EntityRows,
        full_feature_names: bool = False,  # noqa: FBT001, FBT002 - Feast's
    ) -> OnlineResponse:
        """Return the newest values.

        `features` are features, `view:feature` or views, or one feature service; `entity_rows` is
        [{"user_id": "user_1"}, ...] or {"user_id": ["user_1", ...]}.
        """
        question = OnlineQuestion.of(features, entity_rows, full_names=full_feature_names)
        return question.response(self.client.get_online_features(question.features, question.entities))

    def get_historical_features(
        self,
        entity_df: pd.DataFrame | pa.Table,
        features: Features,
        full_feature_names: bool = False,  # noqa: FBT001, FBT002 - Feast's
        *,
        known_at: datetime | str | None = None,
        known_at_column: str = "",
        registry_version: int = 0,
    ) -> HistoricalJob:
        """Return a job whose rows are those of `entity_df` with each feature as it was then; see `RaytideClient`."""
        named = features.name if isinstance(features, FeatureService) else features
        return HistoricalJob(
            lambda: self.client.get_historical_features(
                entity_df,
                named,
                known_at=known_at,
                known_at_column=known_at_column,
                full_feature_names=full_feature_names,
                registry_version=registry_version,
            )
        )

    def push(self, push_source_name: str, df: pd.DataFrame | pa.Table) -> UploadView:
        """Send records to a source, through its feature code into history and, if newest, online; return when they are there.

        The same rows sent again are taken once. Raise BadFile when they were refused as a whole.
        """
        table = df if isinstance(df, pa.Table) else pa.Table.from_pandas(df, preserve_index=False)
        with tempfile.TemporaryDirectory(prefix="raytide-") as folder:
            path = Path(folder) / "push.parquet"  # the same name for each: it is a part of the key
            parquet.write_table(table, path)
            upload = self.client.upload_file(path, source=push_source_name)
        if upload.state is not UploadState.DONE:
            raise BadFile(f"the rows for source '{push_source_name}' are {upload.state}: {upload.error}")
        return upload

    def materialize(self) -> OnlineReport:
        """Write the newest of history to the online store again, and return when that is done.

        For after a loss only: streams, uploads and backfills write both stores by themselves. There is no range to give,
        because newer values win.
        """
        *_, last = self.client.rebuild_online()
        return last

    def plan(self) -> list[Change]:
        """Return what `apply` would change in the running app."""
        config, folder = self._place.project("plan")
        catalog = loader.load(config.project, folder / config.definitions)
        return compare(in_force(self.client.sql), catalog.describe())

    def apply(self, comment: str = "") -> list[Change]:
        """Put the project's definitions in force, and return what that changed; see `raytide apply`.

        Definitions are code and come through Ray: call it where the app was started. Raise Misconfigured for definitions
        that are wrong, and where Ray is not installed.
        """
        config, folder = self._place.project("apply")
        try:
            from cluster import applying  # noqa: PLC0415 - the one verb that needs Ray
        except ModuleNotFoundError as error:
            raise Misconfigured(
                f"apply needs {error.name}, which is not installed here: run `raytide apply` where the app was started"
            ) from None
        applied, _ = applying.apply(config, folder, Path.cwd(), comment)
        return list(applied.changes)
