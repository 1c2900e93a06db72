"""What a rejected record looks like in its dead-letter topic, whatever the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cluster.ingest.batch import headers_of
from cluster.records import Batch, Headers

SUFFIX = ".dead-letters"

#: Says which parts of the record were left out because it would have been too large with them.
TRUNCATED = "truncated"

# What a record costs beside its bytes: the head of a batch that it may have for itself, and lengths.
_RECORD_BYTES, _HEADER_BYTES = 128, 10


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of a dead-letter topic. Our headers come after the record's own, so that in a dictionary ours count."""

    key: bytes | None
    value: bytes | None
    original: Headers
    headers: Headers

    @property
    def all_headers(self) -> Headers:
        """Return the record's own headers, then ours."""
        return self.original + self.headers

    @property
    def nbytes(self) -> int:
        """Return about what the message takes on the wire, never less."""
        headers = sum(_HEADER_BYTES + len(name.encode()) + len(value) for name, value in self.all_headers)
        return _RECORD_BYTES + len(self.key or b"") + len(self.value or b"") + headers


def topic_of(topic: str) -> str:
    """Return the name of a topic's dead-letter topic."""
    return topic + SUFFIX


def letters_of(batch: Batch) -> Iterator[Letter]:
    """Yield a letter for each reject of a stream's batch, in position order."""
    origin = batch.origin
    for row in batch.rejects.to_pylist():
        ours = {
            "source-topic": origin.topic,
            "source-partition": origin.partition,
            "source-offset": row["position"],
            "reason": row["reason"],
            "detail": row["detail"],
            "registry-version": origin.registry_version,
        }
        headers = tuple((name, str(value).encode()) for name, value in ours.items())
        yield Letter(row["key"], row["payload"], headers_of(row["headers"]), headers)


def fitted(letter: Letter, most_bytes: int) -> Letter:
    """Return the letter, without its own headers, its value or at last its key if it has more than `most_bytes`.

    Quarantine has the record whole; the position in our headers says where.
    """
    without: list[str] = []
    found = letter
    for part, smaller in (("headers", {"original": ()}), ("value", {"value": None}), ("key", {"key": None})):
        if found.nbytes <= most_bytes:
            break
        without.append(part)
        found = replace(found, **smaller, headers=_marked(letter.headers, without))
    return found


def _marked(headers: Headers, without: Sequence[str]) -> Headers:
    return (*headers, (TRUNCATED, ",".join(without).encode()))
