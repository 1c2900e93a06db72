"""Online reads in Feast's words: entity rows in, a response with `to_dict` and `to_df` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from cluster.errors import Refused
from cluster.registry.definitions import FeatureService
from raytide.answers import OnlineFeatures

EntityRows = Sequence[Mapping[str, str | int]] | Mapping[str, Sequence[str | int]]
Features = Sequence[str] | str | FeatureService
US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class OnlineQuestion:
    """What a caller asked for: `entities` under the join key, and `features` as the protocol names them."""

    join_key: str
    entities: list[str | int]
    features: Sequence[str] | str
    full_names: bool

    @classmethod
    def of(cls, features: Features, entity_rows: EntityRows, *, full_names: bool) -> OnlineQuestion:
        """Return the question; raise Refused for rows that are not ids under one join key."""
        join_key, entities = _entities(entity_rows)
        named = features.name if isinstance(features, FeatureService) else features
        if full_names and (isinstance(named, str) or not all(":" in name for name in named)):
            raise Refused("features: full_feature_names needs each feature as 'view:feature', to know its view")
        return cls(join_key, entities, named, full_names)

    @property
    def ids(self) -> list[str]:
        """Return the entities' ids as text."""
        return [str(entity) for entity in self.entities]

    def response(self, answer: OnlineFeatures) -> OnlineResponse:
        """Return the answer under the names that were asked for."""
        names = list(answer.names)
        if self.full_names:
            views = {reference.partition(":")[2]: reference.partition(":")[0] for reference in self.features}
            names = [f"{views[name]}__{name}" for name in names]
        return OnlineResponse(self.join_key, self.entities, names, answer)


@dataclass(frozen=True, slots=True)
class OnlineResponse:
    """The newest values. `names` are the columns of `to_dict` and `to_df`; `columns` has everything, in arrays."""

    join_key: str
    entities: list[str | int]
    names: list[str]
    columns: OnlineFeatures

    @property
    def statuses(self) -> dict[str, list[str]]:
        """Return for each feature PRESENT, NULL_VALUE, NOT_FOUND or OUTSIDE_MAX_AGE for each entity."""
        return dict(zip(self.names, self.columns.statuses, strict=True))

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, list[Any]]:  # noqa: FBT001, FBT002 - Feast's
        """Return the join key and each feature; a value is None unless PRESENT, a time (`<feature>__ts`) whole seconds."""
        found: dict[str, list[Any]] = {self.join_key: list(self.entities)}
        for index, (name, statuses) in enumerate(self.statuses.items()):
            values = zip(self.columns.values[index].tolist(), statuses, strict=True)
            found[name] = [value if status == "PRESENT" else None for value, status in values]
            if include_event_timestamps:
                found[f"{name}__ts"] = (self.columns.event_timestamps[index] // US_PER_S).tolist()
        return found

    def to_df(self, include_event_timestamps: bool = False) -> pd.DataFrame:  # noqa: FBT001, FBT002 - Feast's
        """Return one row for each entity, with the columns of `to_dict`; a value is NaN unless PRESENT."""
        frame = pd.DataFrame(self.to_dict(include_event_timestamps))
        return frame.astype(dict.fromkeys(self.names, "float64"))

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:  # noqa: FBT001, FBT002 - Feast's
        """Return the columns of `to_dict` as a table; a value is null unless PRESENT."""
        columns = self.to_dict(include_event_timestamps)
        return pa.table({n: pa.array(v, pa.float64()) if n in self.names else pa.array(v) for n, v in columns.items()})


def _entities(rows: EntityRows) -> tuple[str, list[str | int]]:
    if isinstance(rows, Mapping):
        keys, entities = list(rows), [entity for column in rows.values() for entity in column]
    else:
        keys, entities = list({key: None for row in rows for key in row}), [entity for row in rows for entity in row.values()]
        if any(len(row) != 1 for row in rows):
            raise Refused("entity_rows: each row names the join key once, such as {'user_id': 'user_1'}")
    if len(keys) != 1:
        raise Refused(f"entity_rows: one join key is needed, such as 'user_id'; there is {', '.join(keys) or 'none'}")
    if wrong := {type(entity).__name__ for entity in entities if isinstance(entity, bool) or not isinstance(entity, str | int)}:
        raise Refused(f"entity_rows: an id is text or an integer, not {', '.join(sorted(wrong))}: convert it first")
    return keys[0], entities
