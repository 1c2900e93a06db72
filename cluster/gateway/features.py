# ruff: noqa: N802 - methods are named by the protocol
"""FeatureService: the newest values, and values as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

import grpc
import pyarrow as pa
from featurestore.v1 import features_pb2, features_pb2_grpc

from cluster.clock import now_us
from cluster.config import GatewayConfig
from cluster.errors import NotFound, OverLimit, Refused, RetryLater
from cluster.gateway.arrow import from_chunks, to_chunks
from cluster.gateway.backend import Backend, Read
from cluster.gateway.failures import AtFault, argument
from cluster.gateway.patience import Patience
from cluster.gateway.requests import BROKEN, take_bytes, take_header
from cluster.registry.catalog import Catalog, FeatureSpec, near_matches
from cluster.serving.asof import Terms
from cluster.serving.online import OnlineAnswer, Status, read_online

STATUSES: dict[Status, Any] = {status: features_pb2.FeatureStatus.Value(f"FEATURE_STATUS_{status}") for status in Status}

Named = features_pb2.GetOnlineFeaturesRequest | features_pb2.GetHistoricalFeaturesHeader


class FeatureService(features_pb2_grpc.FeatureServiceServicer):
    """Thin: looks names up, reads, and puts the answer into messages."""

    def __init__(self, config: GatewayConfig, backend: Backend, patience: Patience) -> None:
        self._config, self._backend, self._patience = config, backend, patience

    def GetOnlineFeatures(
        self, request: features_pb2.GetOnlineFeaturesRequest, _context: grpc.ServicerContext
    ) -> features_pb2.GetOnlineFeaturesResponse:
        """Answer with one vector for each feature."""
        catalog = self._backend.catalog()
        specs = wanted(catalog, request)
        self._check_entities(len(request.entity_ids))
        with argument("features"):
            answer = read_online(self._backend.online, specs, list(request.entity_ids), now_us())
        return features_pb2.GetOnlineFeaturesResponse(
            feature_names=[spec.name for spec in specs],
            vectors=_vectors(answer),
            registry_version=catalog.version,
        )

    def GetHistoricalFeatures(
        self, requests: Iterator[features_pb2.GetHistoricalFeaturesRequest], context: grpc.ServicerContext
    ) -> Iterator[features_pb2.GetHistoricalFeaturesResponse]:
        """Take all rows, join, and send the answer in chunks."""
        messages = self._patience.messages(requests, context)
        header = take_header(messages)
        terms = _terms(header)
        with argument("registry_version"):
            catalog = self._backend.catalog_of(header.registry_version)
        specs = wanted(catalog, header)
        with argument("entity_rows"):
            limits = self._config.max_historical_rows, self._config.max_historical_bytes
            rows = from_chunks(take_bytes(messages, "entity_rows"), *limits)
            joined = self._joined(rows, specs, terms, Read(uuid4().hex, header.registry_version), context)
        for chunk in to_chunks(joined):
            yield features_pb2.GetHistoricalFeaturesResponse(arrow=chunk)

    def _joined(
        self, rows: pa.Table, specs: list[FeatureSpec], terms: Terms, read: Read, context: grpc.ServicerContext
    ) -> pa.Table:
        """Join, and have that stopped when the client goes away meanwhile."""
        ended = threading.Event()

        def stop() -> None:
            if not ended.is_set():
                self._backend.cancel_historical(read.read_id)

        if not context.add_callback(stop):
            raise RetryLater(BROKEN)
        try:
            return self._backend.historical(rows, specs, terms, read)
        finally:
            ended.set()

    def _check_entities(self, count: int) -> None:
        limit = self._config.max_entities
        if count == 0:
            raise AtFault("entity_ids", Refused("the list is empty: name at least one entity"))
        if count > limit:
            raise AtFault(
                "entity_ids",
                OverLimit(f"{count:,} entities, but one call may name {limit:,}: ask in parts, or raise gateway.max_entities"),
            )


def _terms(header: features_pb2.GetHistoricalFeaturesHeader) -> Terms:
    if header.HasField("known_at_us") and header.known_at_column:
        raise AtFault("known_at_column", Refused("name either one time for all rows or a column with a time for each"))
    known_at = header.known_at_us if header.HasField("known_at_us") else None
    return Terms(known_at, header.known_at_column, header.full_feature_names)


def wanted(catalog: Catalog, request: Named) -> list[FeatureSpec]:
    """Return the features that a request means, each once, in order; raise AtFault naming the one that is unknown."""
    if bool(request.features) == bool(request.feature_service):
        raise AtFault("features", Refused("name either features or a feature service"))
    if request.feature_service:
        return _of_service(catalog, request.feature_service)
    specs = [spec for i, name in enumerate(request.features) for spec in _resolved(catalog, name, f"features[{i}]")]
    return _once(specs)


def _of_service(catalog: Catalog, name: str) -> list[FeatureSpec]:
    if name not in catalog.services:
        near = near_matches(name, catalog.services)
        raise AtFault("feature_service", NotFound(f"no feature service is called '{name}'{near}"))
    return _once(catalog.resolve([name]))


def _resolved(catalog: Catalog, reference: str, field: str) -> list[FeatureSpec]:
    try:
        return catalog.resolve([reference])
    except NotFound as error:
        raise AtFault(field, error) from None


def _once(specs: Iterable[FeatureSpec]) -> list[FeatureSpec]:
    return list({spec.name: spec for spec in specs}.values())


def _vectors(answer: OnlineAnswer) -> list[features_pb2.FeatureVector]:
    columns = zip(answer.values, answer.statuses, answer.event_timestamps, answer.ages, strict=True)
    return [
        features_pb2.FeatureVector(
            values=values.tolist(),
            statuses=map(STATUSES.__getitem__, statuses),
            event_timestamps_us=times.tolist(),
            ages_us=ages.tolist(),
        )
        for values, statuses, times, ages in columns
    ]
