"""Rows between parsing and validation: where the two entrances, Kafka and files, meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.records import Events, Reason

#: Index of the row in its `Parsed` (or `Records`), reason, and a detail that names the field but never the data.
RowFault = tuple[int, Reason, str]


@dataclass(frozen=True, slots=True)
class Parsed:
    """Rows whose fields have the right types, as columns; not yet checked for meaning.

    `positions` ascend. `timestamps` (µs) have the same length and are the `created_at` of rows that bring none.
    `columns` holds one array of that length for each field that the source names, under the record's own field names;
    a column that is left out counts as all null. Types:

    - entity id (`Long.entity_id`, `Wide.join_key`) and `Long.feature_name`: string
    - `Long.value`: float64
    - event time and created at: string (RFC 3339), int64 (in `timestamp_unit`), or any Arrow timestamp
    - declared fields of a wide source: float64, int64, string or bool, as declared
    """

    positions: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    columns: Mapping[str, pa.Array]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.positions)


#: `validator(parsed, now_us)` returns the valid events, the indexes of their rows in `parsed` (ascending), and one
#: fault for each other row, in row order.
Validator = Callable[[Parsed, int], tuple[Events, NDArray[np.int64], list[RowFault]]]
