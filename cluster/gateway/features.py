# ruff: noqa: N802 - methods are named by the protocol
"""FeatureService: the newest values, and values as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import uuid4

import grpc
import pyarrow as pa
from featurestore.v1 import features_pb2, features_pb2_grpc

from cluster.config import GatewayConfig
from cluster.errors import OverLimit, Refused, RetryLater
from cluster.gateway.arrow import from_chunks, to_chunks
from cluster.gateway.backend import Read, ReadingBackend
from cluster.gateway.failures import AtFault, argument
from cluster.gateway.names import Names, wanted
from cluster.gateway.online import OnlineReads
from cluster.gateway.patience import Patience
from cluster.gateway.requests import BROKEN, take_bytes, take_header
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import Terms
from cluster.serving.online import OnlineAnswer

#: A value in a column of an answer.
VALUE_BYTES = 8


class FeatureService(features_pb2_grpc.FeatureServiceServicer):
    """Thin: looks names up, reads, and puts the answer into messages."""

    def __init__(self, config: GatewayConfig, backend: ReadingBackend, patience: Patience, online: OnlineReads) -> None:
        self._config, self._backend, self._patience, self._online = config, backend, patience, online

    def GetOnlineFeatures(
        self, request: features_pb2.GetOnlineFeaturesRequest, context: grpc.ServicerContext
    ) -> features_pb2.GetOnlineFeaturesResponse:
        """Answer with one vector for each feature."""
        features, version = self._online.features(Names(tuple(request.features), request.feature_service))
        answer = self._online.read(features, request.entity_ids, context)
        response = features_pb2.GetOnlineFeaturesResponse(feature_names=features.names, registry_version=version)
        _add_vectors(response, answer)
        return response

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
            _check_answer(len(rows), len(specs), self._config.max_historical_bytes)
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


def _terms(header: features_pb2.GetHistoricalFeaturesHeader) -> Terms:
    if header.HasField("known_at_us") and header.known_at_column:
        raise AtFault("known_at_column", Refused("name either one time for all rows or a column with a time for each"))
    known_at = header.known_at_us if header.HasField("known_at_us") else None
    return Terms(known_at, header.known_at_column, header.full_feature_names)


def _check_answer(rows: int, features: int, max_bytes: int) -> None:
    """Raise OverLimit when the joined columns would be larger than the rows that they join may be."""
    if rows * features * VALUE_BYTES > max_bytes:
        raise OverLimit(
            f"{rows:,} rows of {features} features are more than {max_bytes:,} bytes: ask for them in several calls, or raise "
            "gateway.max_historical_bytes"
        )


def _add_vectors(response: features_pb2.GetOnlineFeaturesResponse, answer: OnlineAnswer) -> None:
    # Added in place: vectors that are given to a constructor are copied.
    matrices = (answer.values, answer.statuses, answer.event_timestamps, answer.ages)
    for values, statuses, times, ages in zip(*(matrix.tolist() for matrix in matrices), strict=True):
        response.vectors.add(values=values, statuses=statuses, event_timestamps_us=times, ages_us=ages)
