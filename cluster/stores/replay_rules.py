"""What may be replayed, whatever the store."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cluster.errors import Refused
from cluster.ingest.ledger import check_batch
from cluster.records import Batch, Origin, SourceKind


def check_replay(of: Origin, batch: Batch) -> None:
    """Raise Refused unless `batch` holds rows of rejects of `of`, and nothing else."""
    check_batch(batch)
    if of.kind not in (SourceKind.STREAM, SourceKind.UPLOAD) or batch.origin != of.replayed_under(
        batch.origin.registry_version
    ):
        raise Refused(f"a replay of {of} cannot have the origin {batch.origin}; this is a fault of its sender")
    if batch.rejects.num_rows:
        raise Refused("a replay brings no rejects: what fails again is in quarantine already; this is a fault of its sender")


def limited_to(rows: pa.Table, positions: Sequence[int]) -> pa.Table:
    """Return the rows at these positions."""
    return rows.filter(pc.is_in(rows.column("position"), pa.array(positions, pa.int64())))
