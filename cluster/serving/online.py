"""Online reads: what is stored, judged by each view's ttl, with a status that is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cluster.errors import Refused
from cluster.registry.catalog import FeatureSpec
from cluster.stores.ports import OnlineStore


class Status(StrEnum):
    """What an online read says about one (entity, feature) pair."""

    PRESENT = "PRESENT"
    NULL_VALUE = "NULL_VALUE"
    NOT_FOUND = "NOT_FOUND"
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"


@dataclass(frozen=True, slots=True)
class OnlineAnswer:
    """An online read in columns, `[feature][entity]`, as asked for.

    A value is NaN unless PRESENT. Event times and ages are µs; both are 0 for NOT_FOUND, and an age is 0 for an event
    from the future.
    """

    values: list[NDArray[np.float64]]
    statuses: list[list[Status]]
    event_timestamps: list[NDArray[np.int64]]
    ages: list[NDArray[np.int64]]


def read_online(store: OnlineStore, specs: Sequence[FeatureSpec], entity_ids: Sequence[str], now_us: int) -> OnlineAnswer:
    """Read `specs` of `entity_ids` as of `now_us`. A value expires when it is older than its view's ttl, not at it.

    Raise Refused for a feature that is not kept online, and what the store raises.
    """
    for spec in specs:
        _check_online(spec)
    stored = store.read(entity_ids, [spec.name for spec in specs])
    answer = OnlineAnswer([], [], stored.event_timestamps, [])
    columns = zip(specs, stored.values, stored.null, stored.found, stored.event_timestamps, strict=True)
    for spec, value, null, found, event in columns:
        age = np.where(found, np.maximum(now_us - event, 0), 0)
        expired = found & (age > spec.ttl_us) if spec.ttl_us is not None else np.zeros_like(found)
        answer.values.append(np.where(expired, np.nan, value))
        answer.statuses.append(_statuses(found, expired, null))
        answer.ages.append(age)
    return answer


def _check_online(spec: FeatureSpec) -> None:
    if not spec.online:
        raise Refused(
            f"feature '{spec.name}' of view '{spec.view}' is not kept online: set online=True in feature view '{spec.view}' "
            "and restart the app with `raytide down` and `raytide up`, or read it with `raytide get-historical`",
        )


def _statuses(found: NDArray[np.bool_], expired: NDArray[np.bool_], null: NDArray[np.bool_]) -> list[Status]:
    # An expired null is expired: what it said then is as unknown now as any other value.
    choices = [Status.NOT_FOUND, Status.OUTSIDE_MAX_AGE, Status.NULL_VALUE]
    chosen = np.select([~found, expired, null], [0, 1, 2], 3)
    return [(*choices, Status.PRESENT)[index] for index in chosen.tolist()]
