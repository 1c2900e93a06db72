"""An online read as messages: shared by the clients that wait and those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from featurestore.v1 import features_pb2

from raytide.answers import OnlineFeatures

STATUS_NAMES = {number: name.removeprefix("FEATURE_STATUS_") for name, number in features_pb2.FeatureStatus.items()}


def wanted(features: Sequence[str] | str) -> dict[str, Any]:
    """Return the fields of a request that name `features`; a single text is a feature service."""
    return {"feature_service": features} if isinstance(features, str) else {"features": list(features)}


def online_request(features: Sequence[str] | str, ids: Sequence[str]) -> features_pb2.GetOnlineFeaturesRequest:
    """Return the question."""
    return features_pb2.GetOnlineFeaturesRequest(**wanted(features), entity_ids=ids)


def online_answer(ids: list[str], answer: features_pb2.GetOnlineFeaturesResponse) -> OnlineFeatures:
    """Return the answer in columns."""
    return OnlineFeatures(
        entity_ids=ids,
        names=list(answer.feature_names),
        values=[np.array(v.values, np.float64) for v in answer.vectors],
        statuses=[[STATUS_NAMES[status] for status in v.statuses] for v in answer.vectors],
        event_timestamps=[np.array(v.event_timestamps_us, np.int64) for v in answer.vectors],
        ages=[np.array(v.ages_us, np.int64) for v in answer.vectors],
        registry_version=answer.registry_version,
    )
