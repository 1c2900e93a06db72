"""What one partition measures: by the batch, never by the event."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.monitoring import metrics as m
from cluster.records import Batch

#: Events of a batch whose freshness is measured, evenly spaced by position.
SAMPLE = 8


class StreamMeter:
    """Caller: one partition's loop. Any of its threads."""

    def __init__(self, metrics: m.Metrics, topic: str, partition: int) -> None:
        self._metrics, self._topic, self._partition = metrics, topic, str(partition)

    def readable(self, rows: pa.Table, now_us: int) -> None:
        """Measure rows that have just become readable online."""
        count = min(SAMPLE, rows.num_rows)
        sample = np.linspace(0, rows.num_rows - 1, count).astype(np.int64)
        for time_us in rows["event_timestamp"].take(pa.array(sample)).cast(pa.int64()).to_pylist():
            self._metrics.observe(m.FRESHNESS, max(0, now_us - time_us) / 1e6, self._topic)

    def durable(self, batch: Batch) -> None:
        """Measure a batch that has just become durable."""
        self._metrics.add(m.EVENTS, batch.events, self._topic, self._partition)
        self._metrics.add(m.ROWS, batch.rows.num_rows, self._topic)
        self._metrics.observe(m.BATCH_RECORDS, batch.events + batch.rejects.num_rows, self._topic)
        if batch.rejects.num_rows:
            for reason in pc.value_counts(batch.rejects["reason"]).to_pylist():
                self._metrics.add(m.REJECTS, reason["counts"], self._topic, reason["values"])
