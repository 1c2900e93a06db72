# ruff: noqa: N802 - methods are named by the protocol
"""Feast's protocol for online reads, so that a Feast client reads Raytide by changing the address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from featurestore.feast import serving_pb2, serving_pb2_grpc

from cluster.errors import Refused
from cluster.gateway.failures import AtFault
from cluster.gateway.names import Names
from cluster.gateway.online import OnlineReads
from cluster.serving.online import OnlineAnswer, OnlineFeatureSet, Status

SERVICE = serving_pb2.DESCRIPTOR.services_by_name["ServingService"].full_name
#: What Feast's own server in Python is called; its clients call the same method there.
PYTHON_SERVICE = "GrpcFeatureServer"
#: Feast's version whose protocol this is, and who speaks it.
VERSION = "0.67.0+raytide"
#: What an entity's id may be.
IDS = ("string_val", "int64_val", "int32_val", "uuid_val", "time_uuid_val")

_PRESENT = Status.PRESENT.number
_NOT_FOUND = Status.NOT_FOUND.number


class ServingService(serving_pb2_grpc.ServingServiceServicer):
    """Thin, as FeatureService is; statuses are true, which those of Feast are not."""

    def __init__(self, online: OnlineReads) -> None:
        self._online = online

    def GetFeastServingInfo(
        self, _request: serving_pb2.GetFeastServingInfoRequest, _context: grpc.ServicerContext
    ) -> serving_pb2.GetFeastServingInfoResponse:
        """Say which version of Feast's protocol this is."""
        return serving_pb2.GetFeastServingInfoResponse(version=VERSION)

    def GetOnlineFeatures(
        self, request: serving_pb2.GetOnlineFeaturesRequest, context: grpc.ServicerContext
    ) -> serving_pb2.GetOnlineFeaturesResponse:
        """Answer with the join key, then with one vector for each feature."""
        features, version = self._online.features(Names(tuple(request.features.val), request.feature_service))
        join_key = features.specs[0].join_key  # a project has one
        asked = _asked(request, join_key)
        answer = self._online.read(features, _ids(asked, f"entities.{join_key}"), context)
        response = serving_pb2.GetOnlineFeaturesResponse()
        response.metadata.feature_names.val.extend([join_key, *_names(features, full=request.full_feature_names)])
        if request.include_feature_view_version_metadata:
            for view in dict.fromkeys(spec.view for spec in features.specs):
                response.metadata.feature_view_metadata.add(name=view, version=version)
        _add_keys(response, asked)
        _add_vectors(response, answer)
        return response


def add_to(server: grpc.Server, online: OnlineReads) -> None:
    """Serve it on `server` under both of Feast's names."""
    service = ServingService(online)
    serving_pb2_grpc.add_ServingServiceServicer_to_server(service, server)
    method = grpc.unary_unary_rpc_method_handler(
        service.GetOnlineFeatures,
        request_deserializer=serving_pb2.GetOnlineFeaturesRequest.FromString,
        response_serializer=serving_pb2.GetOnlineFeaturesResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler(PYTHON_SERVICE, {"GetOnlineFeatures": method})
    server.add_generic_rpc_handlers((handlers,))


def _asked(request: serving_pb2.GetOnlineFeaturesRequest, join_key: str) -> Sequence[Any]:
    """Return the entities' ids as they came. Other columns are left alone, as Feast does."""
    if join_key not in request.entities:
        given = ", ".join(sorted(request.entities)) or "nothing"
        raise AtFault("entities", Refused(f"ids are needed under the join key '{join_key}', and there is {given}"))
    return request.entities[join_key].val


def _ids(values: Iterable[Any], field: str) -> list[str]:
    ids = []
    for number, value in enumerate(values):
        kind = value.WhichOneof("val")
        if kind not in IDS:
            raise AtFault(
                f"{field}[{number}]", Refused(f"{kind or 'no value'} cannot be an entity's id: send text or an integer")
            )
        ids.append(str(getattr(value, kind)))
    return ids


def _names(features: OnlineFeatureSet, *, full: bool) -> list[str]:
    return [f"{spec.view}__{spec.name}" for spec in features.specs] if full else features.names


def _add_keys(response: serving_pb2.GetOnlineFeaturesResponse, asked: Sequence[Any]) -> None:
    vector = response.results.add(values=asked, statuses=[_PRESENT] * len(asked))
    for _ in asked:
        vector.event_timestamps.add()


def _add_vectors(response: serving_pb2.GetOnlineFeaturesResponse, answer: OnlineAnswer) -> None:
    rows = zip(answer.values.tolist(), answer.statuses.tolist(), answer.event_timestamps.tolist(), strict=True)
    for values, statuses, times in rows:
        vector = response.results.add(statuses=statuses)
        add_value, add_time = vector.values.add, vector.event_timestamps.add
        for value, status, time in zip(values, statuses, times, strict=True):
            if status == _PRESENT:
                add_value(double_val=value)
            else:
                add_value()
            if status == _NOT_FOUND:
                add_time()
            else:
                seconds, micros = divmod(time, 1_000_000)
                add_time(seconds=seconds, nanos=micros * 1_000)
