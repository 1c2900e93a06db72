"""Online reads without waiting: for services that run on asyncio.

async with AsyncFeatureStore("127.0.0.1:50051") as store:
response = await store.get_online_features("fraud_v1", [{"user_id": "user_1"}])
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from featurestore.v1 import features_pb2, features_pb2_grpc
from tenacity import AsyncRetrying

from cluster.gateway.failures import from_call
from raytide.calls import patience
from raytide.channels import bearer, open_async_channel, token_of
from raytide.online_reads import online_answer, online_request
from raytide.online_response import EntityRows, Features, OnlineQuestion, OnlineResponse
from raytide.places import Place

#: A model that answers a user does not wait longer.
TIMEOUT_S = 5.0


class AsyncFeatureStore:
    """Talks to the gateway of `project` or at `project`, as `FeatureStore` does. Any number of tasks of one loop.

    A read ends within `timeout_s`, tries included. Errors are those of `cluster.errors`.
    """

    def __init__(self, project: str | Path = ".", timeout_s: float = TIMEOUT_S) -> None:
        self._place, self._timeout_s = Place.of(project), timeout_s
        self._token = token_of(self._place.access)
        self._channel: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connection; reads that still run are broken off."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def get_online_features(
        self,
        features: Features,
        entity_rows: EntityRows,
        full_feature_names: bool = False,  # noqa: FBT001, FBT002 - Feast's
    ) -> OnlineResponse:
        """Return the newest values; see `FeatureStore.get_online_features`."""
        question = OnlineQuestion.of(features, entity_rows, full_names=full_feature_names)
        ids = question.ids
        answer = await self._read(online_request(question.features, ids))
        return question.response(online_answer(ids, answer))

    async def _read(self, request: features_pb2.GetOnlineFeaturesRequest) -> features_pb2.GetOnlineFeaturesResponse:
        if self._channel is None:  # made here, where the loop is that it belongs to
            self._channel = open_async_channel(self._place.address, self._place.access)
        method: Any = features_pb2_grpc.FeatureServiceStub(self._channel).GetOnlineFeatures
        deadline = time.monotonic() + self._timeout_s
        try:
            async for attempt in AsyncRetrying(**patience(self._timeout_s)):
                with attempt:
                    answer: features_pb2.GetOnlineFeaturesResponse = await method(
                        request, timeout=deadline - time.monotonic(), metadata=bearer(self._token)
                    )
                    return answer
        except grpc.RpcError as error:
            raise from_call(error, self._place.address) from None
        raise AssertionError  # the last attempt returned or raised
