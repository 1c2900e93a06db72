"""The client of a running Raytide. One object, any number of threads; needs no Ray.

    with RaytideClient("127.0.0.1:50051") as client:
        client.get_online_features(["account_balance"], ["user_1", 2]).to_df()

Errors are those of `cluster.errors`: Unreachable when no gateway answers, NotFound and Refused naming the argument at
fault, OverLimit naming the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import pandas as pd
import pyarrow as pa
from featurestore.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    backfill_pb2,
    backfill_pb2_grpc,
    features_pb2,
    features_pb2_grpc,
)

from cluster.backfills import Asked, BackfillProgress
from cluster.config import ClientConfig, client_section
from cluster.dead_letters import DeadLetter, Place, ReplayProgress, Selection
from cluster.gateway.arrow import from_chunks, to_chunks
from cluster.gateway.convert import (
    online_from_proto,
    partition_from_proto,
    scope_to_proto,
    status_from_proto,
    verify_from_proto,
)
from cluster.gateway.convert_backfills import backfill_from_proto
from cluster.gateway.convert_backfills import progress_from_proto as backfill_progress_from_proto
from cluster.gateway.convert_letters import (
    letter_from_proto,
    place_to_proto,
    replay_from_proto,
    selection_to_proto,
)
from cluster.gateway.convert_resets import answer_from_proto, request_to_proto
from cluster.ingest.backfills import Backfill
from cluster.resets import ResetAnswer, ResetRequest
from cluster.status import OnlineReport, PartitionReport, Scope, StatusReport
from raytide.answers import CheckView, FileResult, OnlineFeatures, UploadProgressView, UploadView
from raytide.calls import Calls
from raytide.online_reads import online_answer, online_request, wanted
from raytide.registry_client import RegistryClient
from raytide.times import microseconds
from raytide.uploads_client import UploadsClient

__all__ = [
    "CheckView",
    "FileResult",
    "OnlineFeatures",
    "RaytideClient",
    "UploadProgressView",
    "UploadView",
    "microseconds",
]


class RaytideClient(UploadsClient):
    """Talks to the gateway at `address` (host:port). `timeout_s` bounds every call but uploads.

    `access` has the authority, certificate and token for a gateway that wants them; left out, the environment has
    (RAYTIDE_CLIENT__CA, __CERT, __KEY, __TOKEN, __TOKEN_FILE; docs/security.md).
    Reads that find nobody are tried three times within about a second; uploads go on where they were cut, SQL is not repeated.
    """

    def __init__(self, address: str, timeout_s: float = 60, access: ClientConfig | None = None) -> None:
        calls = Calls(address, timeout_s, access or client_section(None))
        super().__init__(calls)
        self.address = address
        self._features = features_pb2_grpc.FeatureServiceStub(calls.channel)
        self._backfills = backfill_pb2_grpc.BackfillServiceStub(calls.channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(calls.channel)
        #: What is defined, and where features and values come from.
        self.registry = RegistryClient(calls.channel, calls.read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; calls that still run are broken off."""
        self._calls.channel.close()

    def get_online_features(self, features: Sequence[str] | str, entity_ids: Sequence[str | int]) -> OnlineFeatures:
        """Return the newest values. `features` are features, `view:feature`, views; a single text is a feature service."""
        ids = [str(entity) for entity in entity_ids]
        answer = self._calls.read(self._features.GetOnlineFeatures, online_request(features, ids))
        return online_answer(ids, answer)

    def get_historical_features(
        self,
        entity_rows: pd.DataFrame | pa.Table,
        features: Sequence[str] | str,
        *,
        known_at: datetime | str | None = None,
        known_at_column: str = "",
        full_feature_names: bool = False,
        registry_version: int = 0,
    ) -> pa.Table:
        """Return `entity_rows` (join key and `event_timestamp`) with each feature as it was at the row's time.

        `features` as in `get_online_features`. `known_at` (RFC 3339 if text, UTC if without an offset) hides what was
        not known by then, `known_at_column` does so for each row. `full_feature_names` names columns `view__feature`.
        `registry_version` reads only what the definitions of that version computed.
        """
        table = (
            pa.Table.from_pandas(entity_rows, preserve_index=False) if isinstance(entity_rows, pd.DataFrame) else entity_rows
        )
        header = features_pb2.GetHistoricalFeaturesHeader(
            **wanted(features),
            known_at_us=microseconds(known_at, "known_at"),
            full_feature_names=full_feature_names,
            known_at_column=known_at_column,
            registry_version=registry_version,
        )
        return self._table(self._features.GetHistoricalFeatures, _historical(header, table))

    def status(self) -> StatusReport:
        """Return what every part is doing."""
        return status_from_proto(self._calls.read(self._admin.GetStatus, admin_pb2.GetStatusRequest()))

    def sql(self, statement: str) -> pa.Table:
        """Run one read-only statement on the history; raise Refused when it is not one."""
        return self._table(self._admin.RunSql, admin_pb2.RunSqlRequest(statement=statement))

    def verify(self, wait_s: float = 0, scope: Scope = Scope.SAMPLE) -> dict[str, Any]:
        """Compare the stores once the streams caught up, or after `wait_s`; return what was checked and what is wrong."""
        request = admin_pb2.VerifyRequest(wait_s=wait_s, scope=scope_to_proto(scope))
        with self._calls.translated():
            answer = self._admin.Verify(request, timeout=self._calls.timeout_s + wait_s)
        return verify_from_proto(answer)

    def resume_partition(self, topic: str, partition: int, allowed_rejects: int = 0) -> PartitionReport:
        """Let a HALTED partition go on; its next `allowed_rejects` rejects do not count towards the limit.

        Raise NotFound when there is no such partition, Refused when it is not halted.
        """
        request = admin_pb2.ResumePartitionRequest(topic=topic, partition=partition, allowed_rejects=allowed_rejects)
        return partition_from_proto(self._calls.once(self._admin.ResumePartition, request).partition)

    def rebuild_online(self) -> Iterator[OnlineReport]:
        """Have the newest of history written to the online store again; yield how far that is, OK last.

        Harmless at any time, without a time limit; it goes on when the iterator is abandoned.
        """
        with self._calls.translated():
            for answer in self._admin.RebuildOnline(admin_pb2.RebuildOnlineRequest()):
                yield online_from_proto(answer.online)

    def list_dead_letters(self, selection: Selection | None = None, limit: int = 100) -> tuple[list[DeadLetter], int]:
        """Return the newest rejected records of a selection, without payloads, and how many there are in all."""
        request = admin_pb2.ListDeadLettersRequest(selection=selection_to_proto(selection or Selection()), limit=limit)
        answer = self._calls.read(self._admin.ListDeadLetters, request)
        return [letter_from_proto(letter) for letter in answer.letters], answer.total

    def get_dead_letter(self, place: Place) -> DeadLetter:
        """Return one rejected record in full; raise NotFound."""
        answer = self._calls.read(self._admin.GetDeadLetter, admin_pb2.GetDeadLetterRequest(place=place_to_proto(place)))
        return letter_from_proto(answer.letter)

    def replay_dead_letters(self, selection: Selection | None = None, *, dry_run: bool = False) -> Iterator[ReplayProgress]:
        """Have open rejects of a selection sent through the definitions in force; yield how far that is.

        Without a time limit. Harmless to repeat: nothing is replayed twice. Abandoning the iterator ends it between two
        parts. `dry_run` says what would happen, and stores nothing.
        """
        request = admin_pb2.ReplayDeadLettersRequest(selection=selection_to_proto(selection or Selection()), dry_run=dry_run)
        with self._calls.translated():
            for answer in self._admin.ReplayDeadLetters(request):
                yield replay_from_proto(answer)

    def backfill(self, asked: Asked, *, dry_run: bool = False) -> Iterator[BackfillProgress]:
        """Have a view's features recomputed for a range of event time; yield how far that is.

        Without a time limit. Abandoning the iterator stops it, and the same call goes on from there; done twice under the
        same definitions, it adds nothing. `dry_run` says what would be read, and stores nothing.
        """
        request = backfill_pb2.RunBackfillRequest(
            view=asked.view, since_us=asked.since_us, until_us=asked.until_us, dry_run=dry_run
        )
        with self._calls.translated():
            for answer in self._backfills.RunBackfill(request):
                yield backfill_progress_from_proto(answer)

    def list_backfills(self, limit: int = 100) -> list[Backfill]:
        """Return backfills, newest first."""
        answer = self._calls.read(self._backfills.ListBackfills, backfill_pb2.ListBackfillsRequest(limit=limit))
        return [backfill_from_proto(backfill) for backfill in answer.backfills]

    def cancel_backfill(self, backfill_id: str) -> Backfill:
        """Stop a backfill after the chunk that it is at; raise NotFound."""
        request = backfill_pb2.CancelBackfillRequest(backfill_id=backfill_id)
        return backfill_from_proto(self._calls.read(self._backfills.CancelBackfill, request).backfill)

    def reset_partition(self, request: ResetRequest) -> ResetAnswer:
        """Let a partition go on at another offset and declare what lies before it as lost, or say what that would be.

        Raise NotFound for an unknown one, Refused while it runs or for an offset that does not exist or is in history.
        """
        return answer_from_proto(self._calls.read(self._admin.ResetPartition, request_to_proto(request)))

    def _table(self, method: Callable[..., Any], request: Any) -> pa.Table:
        with self._calls.translated():
            return from_chunks(answer.arrow for answer in method(request, timeout=self._calls.timeout_s))


def _historical(
    header: features_pb2.GetHistoricalFeaturesHeader, rows: pa.Table
) -> Iterator[features_pb2.GetHistoricalFeaturesRequest]:
    yield features_pb2.GetHistoricalFeaturesRequest(header=header)
    for chunk in to_chunks(rows):
        yield features_pb2.GetHistoricalFeaturesRequest(entity_rows=chunk)
