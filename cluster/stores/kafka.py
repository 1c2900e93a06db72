"""One partition of a Kafka topic, read in order from an offset that is ours."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from cluster.clock import now_us
from cluster.config import IngestConfig, KafkaConfig
from cluster.errors import Refused
from cluster.ingest.resets import gone, made_again
from cluster.records import Records
from cluster.stores.kafka_client import client_options, connect, kafka_errors
from cluster.stores.kafka_identity import TopicIdentity
from cluster.stores.kafka_slabs import install

__all__ = ["KafkaPartition", "client_options"]

FETCH_BYTES = 4 * 1024 * 1024
MOST_PIECES = 1_000
CLOSE_MS = 2_000


class KafkaPartition:
    """A RecordSource on kafka-python: one consumer, one partition, assigned and never subscribed.

    Records of transactions that were aborted or are still open are not seen. What Kafka counts but does not deliver
    (control records, what compaction removed) is covered by the range of the records around it, or by a `Records` of
    its own without records. Not calling `poll` is the brake: at most one fetch is ahead. A record without a time of
    its own (-1, from a very old producer) gets the time at which it was received.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        bootstrap: str,
        topic: str,
        partition: int,
        ingest: IngestConfig,
        *,
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        """Connect; raise Unreachable or Misconfigured."""
        self._tp, self._bootstrap, self._clock_us = TopicPartition(topic, partition), bootstrap, clock_us
        self._max_records, self._max_bytes = ingest.batch_records, ingest.batch_bytes
        self._timeout_ms = kafka.request_timeout_ms
        self._consumer: Any = connect(KafkaConsumer, bootstrap, _consumer_options(kafka, bootstrap))
        self._reader = install(self._consumer)
        self._consumer.assign([self._tp])
        self._pending: deque[Any] = deque()  # pieces that were polled and did not fit into a batch
        self._position: int | None = None
        self._told: int | None = None
        self._topic, self._topic_id = TopicIdentity(self._consumer, self._tp), ""
        self._unchecked = False

    def seek(self, offset: int) -> None:
        """Read next from `offset`."""
        self._pending.clear()
        self._consumer.seek(self._tp, offset)
        self._position = offset

    def poll(self, timeout_s: float) -> Records | None:
        """Return up to a batch of records, or None when none came in time; see RecordSource."""
        first = self._position
        if first is None:
            raise Refused(f"{self._tp.topic}[{self._tp.partition}]: poll before seek; seek to the ledger's next offset first")
        with kafka_errors(self._bootstrap):
            try:
                pieces = self._take(first, timeout_s)
                end = self._end_of(pieces)
                records = self._records(pieces, first, end)
                if records is not None and self._unchecked and self._topic_id:
                    self._check()
                    self._unchecked = False
            except BaseException as error:
                self.seek(first)  # the consumer may be past what was taken and is lost with this error
                if isinstance(error, OffsetOutOfRangeError | LogTruncationError):
                    raise self._offset_is_gone(first) from None
                raise
        self._position = end
        return records

    def identity(self) -> str | None:
        """See RecordSource."""
        with kafka_errors(self._bootstrap):
            found = self._topic.read()
        self._topic_id = found or ""
        return found

    def check(self) -> None:
        """See RecordSource."""
        with kafka_errors(self._bootstrap):
            self._check()

    def beginning(self) -> int:
        """Return the first offset that still exists."""
        with kafka_errors(self._bootstrap):
            return int(self._consumer.beginning_offsets([self._tp], timeout_ms=self._timeout_ms)[self._tp])

    def end(self) -> int:
        """Return the offset after the last record that may be read; raise Unreachable when the brokers are away."""
        with kafka_errors(self._bootstrap):
            return int(self._consumer.end_offsets([self._tp], timeout_ms=self._timeout_ms)[self._tp])

    def commit(self, next_offset: int) -> None:
        """Tell the group, without waiting for an answer."""
        self._told = next_offset
        with suppress(KafkaError):
            self._consumer.commit_async(self._group_offset(next_offset))

    def close(self) -> None:
        """Tell the group once more, and let go."""
        with suppress(KafkaError):
            if self._told is not None:
                told, self._told = self._told, None
                self._consumer.commit(self._group_offset(told), timeout_ms=CLOSE_MS)
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS)

    def _records(self, pieces: list[Any], first: int, end: int) -> Records | None:
        if pieces:
            return self._reader.records(pieces, first, end, self._clock_us())
        if end == first:
            return None
        return Records(first, end, np.empty(0, np.int64), [], np.empty(0, np.int64))

    def _take(self, first: int, timeout_s: float) -> list[Any]:
        """Return pieces for one batch: what was left over, then what the consumer has; wait only for the first."""
        taken: list[Any] = []
        records = size = 0
        wait_ms = int(timeout_s * 1000)
        while self._pending or self._refill(first, 0 if taken else wait_ms, self._max_records - records):
            piece_records, piece_size = self._reader.size(self._pending[0])
            if taken and (records + piece_records > self._max_records or size + piece_size > self._max_bytes):
                break
            if piece_records > self._max_records:
                self._pending.extendleft(reversed(self._reader.split(self._pending.popleft(), self._max_records)))
                piece_records = self._max_records
            taken.append(self._pending.popleft())
            records, size = records + piece_records, size + piece_size
        return taken

    def _refill(self, first: int, wait_ms: int, records: int) -> bool:
        """Poll for pieces, about as many as give `records`; return whether there are any."""
        if records <= 0:
            return False
        found = self._consumer.poll(wait_ms, max_records=min(records, MOST_PIECES)).get(self._tp, ())
        wanted = (self._reader.since(piece, first) for piece in found)
        self._pending.extend(piece for piece in wanted if piece is not None)
        self._unchecked = True  # also without pieces: what was skipped is the old topic's to skip
        return bool(self._pending)

    def _end_of(self, pieces: list[Any]) -> int:
        """Return where `pieces` end; with nothing left over that is where the consumer is, past what it skipped."""
        if pieces and self._pending:
            return self._reader.next_offset(pieces[-1])
        return int(self._consumer.position(self._tp, timeout_ms=0))

    def _check(self) -> None:
        found = self._topic.read()
        if self._topic_id and found is not None and found != self._topic_id:
            raise made_again(self._tp.topic, self._tp.partition, self._topic_id, found)

    def _offset_is_gone(self, offset: int) -> Refused:
        self._check()  # of a topic that was made anew, offsets say nothing
        return gone(self._tp.topic, self._tp.partition, offset, self.beginning(), self.end())

    def _group_offset(self, offset: int) -> dict[TopicPartition, OffsetAndMetadata]:
        return {self._tp: OffsetAndMetadata(offset, "", -1)}


def _consumer_options(kafka: KafkaConfig, bootstrap: str) -> dict[str, Any]:
    return client_options(kafka, bootstrap) | {
        "group_id": kafka.group_id,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",  # anything else jumps silently when the offset is gone
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "check_crcs": True,
        "metrics_enabled": False,
        "fetch_max_wait_ms": min(500, kafka.request_timeout_ms // 2),
        "max_partition_fetch_bytes": FETCH_BYTES,
    }
