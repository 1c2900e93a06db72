"""A part of a replay through the path, wherever it runs: decode, validate and compute as the first time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from cluster.config import IngestConfig
from cluster.ingest.files.csv_again import piece_of
from cluster.ingest.files.decoder import compile_file_decoder
from cluster.ingest.files.piece import Format
from cluster.ingest.pipeline import Outcome, Raw, SourcePlan, to_outcome
from cluster.ingest.transform import compile_transform
from cluster.records import Headers, Records
from cluster.registry.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Part:
    """Records of one source and one origin. Rows of a CSV file have in `around` what they need to be read."""

    source: str
    records: Records
    around: Headers = ()


class PartRunner(Protocol):
    """Runs `compute` somewhere. Caller: a thread of the gateway for each replay."""

    def run(self, job: str, catalog: Catalog, part: Part) -> Outcome:
        """Return what becomes of the records now; raise what `compute` raised. `job` is the replay that this is part of."""


class LocalPartRunner:
    """Runs parts in the calling thread."""

    def __init__(self, ingest: IngestConfig, now_us: Callable[[], int]) -> None:
        self._ingest, self._now_us = ingest, now_us

    def run(self, job: str, catalog: Catalog, part: Part) -> Outcome:  # noqa: ARG002 - the port's
        """Run it here."""
        return compute(catalog, self._ingest, part, self._now_us())


def compute(catalog: Catalog, ingest: IngestConfig, part: Part, now_us: int) -> Outcome:
    """Return rows of the records that pass under `catalog`, and rejects of the others.

    JSON Lines go the same way as messages: their decoder is the same one. Raise Misconfigured for definitions that do
    not compile; never for data.
    """
    if part.around:
        return _of_csv(catalog, ingest, part, now_us)
    return SourcePlan.compile(catalog, part.source, ingest).run(part.records, now_us)


def _of_csv(catalog: Catalog, ingest: IngestConfig, part: Part, now_us: int) -> Outcome:
    decode = compile_file_decoder(catalog.source(part.source), catalog, ingest, Format.CSV)
    values = [value or b"" for value in part.records.values]
    created_us = int(part.records.timestamps[0])  # when the upload began, the same for all
    decoded = decode(piece_of(values, part.around), created_us, now_us)

    def raw(row: int) -> Raw:
        return values[row], None, part.around, created_us

    found = to_outcome(
        compile_transform(catalog, part.source, ingest.transform_timeout_s), decoded.events, decoded.rejected, raw
    )
    positions = part.records.positions
    return Outcome(found.events, _at(found.rows, positions), _at(found.rejects, positions))


def _at(table: pa.Table, positions: np.typing.NDArray[np.int64]) -> pa.Table:
    """Return a table whose rows of the piece have their positions in the file again."""
    index = table.schema.get_field_index("position")
    return table.set_column(index, table.schema.field(index), pa.array(positions[table["position"].to_numpy()]))
