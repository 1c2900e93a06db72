# ruff: noqa: N802 - methods are named by the protocol
"""FeatureService: the newest values, and values as they were."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
from featurestore.v1 import features_pb2, features_pb2_grpc

from cluster.config import GatewayConfig
from cluster.gateway.arrow import from_chunks, to_chunks
from cluster.gateway.backend import Backend
from cluster.gateway.failures import argument
from cluster.gateway.names import Names, wanted
from cluster.gateway.online import OnlineReads
from cluster.gateway.patience import Patience
from cluster.gateway.requests import take_bytes, take_header
from cluster.serving.online import OnlineAnswer


class FeatureService(features_pb2_grpc.FeatureServiceServicer):
    """Thin: looks names up, reads, and puts the answer into messages."""

    def __init__(self, config: GatewayConfig, backend: Backend, patience: Patience) -> None:
        self._config, self._backend, self._patience = config, backend, patience
        self._online = OnlineReads(config, backend)

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
        references = [f"{spec.view}:{spec.name}" for spec in wanted(self._backend.catalog(), header)]
        known_at = header.known_at_us if header.HasField("known_at_us") else None
        with argument("entity_rows"):
            rows = from_chunks(take_bytes(messages, "entity_rows"), self._config.max_historical_rows)
            joined = self._backend.historical(rows, references, known_at, full_names=header.full_feature_names)
        for chunk in to_chunks(joined):
            yield features_pb2.GetHistoricalFeaturesResponse(arrow=chunk)


def _add_vectors(response: features_pb2.GetOnlineFeaturesResponse, answer: OnlineAnswer) -> None:
    # Added in place: vectors that are given to a constructor are copied.
    matrices = (answer.values, answer.statuses, answer.event_timestamps, answer.ages)
    for values, statuses, times, ages in zip(*(matrix.tolist() for matrix in matrices), strict=True):
        response.vectors.add(values=values, statuses=statuses, event_timestamps_us=times, ages_us=ages)
