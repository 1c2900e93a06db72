"""What the client hands out: answers in columns, and views of uploads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cluster.errors import RaytideError
from cluster.stores.ports import Upload, UploadState

UploadView = Upload


@dataclass(frozen=True, slots=True)
class UploadProgressView:
    """How far an upload got: `received` of `size` bytes are there, and `pieces_done` of `pieces_total` were worked on.

    `pieces_total` is None until the whole file was split, into `pieces_split` so far. `rows_validated` and
    `rows_rejected` count what passed the feature code so far, `values_online` what was offered to the online store.
    """

    upload: UploadView
    received: int
    size: int
    pieces_total: int | None
    pieces_done: int
    pieces_split: int = 0
    rows_validated: int = 0
    rows_rejected: int = 0
    values_online: int = 0


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one of several files: how its upload ended, or why there was none."""

    path: Path
    upload: UploadView | None
    error: RaytideError | None = None

    @property
    def done(self) -> bool:
        """Say whether all of the file is stored."""
        return self.upload is not None and self.upload.state is UploadState.DONE

    @property
    def why(self) -> str:
        """Return why it is not; empty when it is."""
        return str(self.error) if self.error else self.upload.error if self.upload else ""


@dataclass(frozen=True, slots=True)
class RejectedRowView:
    """A row that would be rejected: its number (the first row of data is 0), why, and the start of its text."""

    row: int
    reason: str
    detail: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class CheckView:
    """What would become of a file's rows, as far as that is known; `done` once the whole file was checked.

    `reasons` counts rejected rows by reason, `examples` are the first of them. `error` says why the file as a whole would
    be refused, and is empty otherwise.
    """

    received: int
    size: int
    rows: int
    rejected: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[RejectedRowView, ...] = ()
    done: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class OnlineFeatures:
    """The newest values, `[feature][entity]`, in the order of `names` and `entity_ids`.

    A value is NaN unless its status is PRESENT; the others are NULL_VALUE, NOT_FOUND and OUTSIDE_MAX_AGE. Event times
    and ages are µs, 0 where nothing is known.
    """

    entity_ids: list[str]
    names: list[str]
    values: list[NDArray[np.float64]]
    statuses: list[list[str]]
    event_timestamps: list[NDArray[np.int64]]
    ages: list[NDArray[np.int64]]
    registry_version: int

    def to_dict(self) -> dict[str, list[Any]]:
        """Return `entity_id`, and for each feature its values (None unless PRESENT) and its `<feature>__status`."""
        columns: dict[str, list[Any]] = {"entity_id": self.entity_ids}
        for name, values, statuses in zip(self.names, self.values, self.statuses, strict=True):
            present = zip(values.tolist(), statuses, strict=True)
            columns[name] = [value if status == "PRESENT" else None for value, status in present]
            columns[f"{name}__status"] = statuses
        return columns

    def to_df(self) -> pd.DataFrame:
        """Return one row for each entity: `entity_id`, then for each feature value, status and event time."""
        columns: dict[str, Any] = {"entity_id": self.entity_ids}
        for index, name in enumerate(self.names):
            times = pd.Series(self.event_timestamps[index].astype("datetime64[us]")).dt.tz_localize("UTC")
            columns[name] = self.values[index]
            columns[f"{name}__status"] = self.statuses[index]
            columns[f"{name}__event_timestamp"] = times.where(self.event_timestamps[index] != 0)
        return pd.DataFrame(columns)
