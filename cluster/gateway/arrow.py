"""Arrow tables as streams of bytes in small chunks, and back, for both ends of a call.

Neither direction holds more than one record batch beside the table, and no chunk is longer than `CHUNK_BYTES`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import pyarrow as pa

from cluster.errors import OverLimit, Refused

CHUNK_BYTES = 256 * 1024
BATCH_ROWS = 32_768


def to_chunks(table: pa.Table) -> Iterator[bytes]:
    """Yield `table` as one Arrow IPC stream, in chunks of at most `CHUNK_BYTES`."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=BATCH_ROWS):
            writer.write_batch(batch)
            yield from _taken(sink)
    yield from _taken(sink)


def from_chunks(chunks: Iterable[bytes], max_rows: int | None = None, max_bytes: int | None = None) -> pa.Table:
    """Return the table that an Arrow IPC stream holds, checked so far that bad bytes cannot harm whoever reads it.

    Raise Refused when the bytes are not such a stream, OverLimit at the first batch beyond `max_rows` or `max_bytes`.
    What `chunks` raises comes through.
    """
    try:
        with pa.ipc.open_stream(pa.PythonFile(_ChunkFile(iter(chunks)), mode="r")) as reader:
            _ = reader.schema.names  # raises for a name that is not UTF-8, which only whoever uses it would notice
            batches = list(_bounded(reader, max_rows, max_bytes))
            return pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Refused(
            f"the bytes are not an Arrow IPC stream ({_first_line(error)}): send what pyarrow.ipc.new_stream writes"
        ) from None


def _taken(sink: io.BytesIO) -> Iterator[bytes]:
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


def _bounded(reader: pa.RecordBatchReader, max_rows: int | None, max_bytes: int | None) -> Iterator[pa.RecordBatch]:
    rows = size = 0
    for batch in reader:
        # Offsets inside a foreign batch may point anywhere; reading it unchecked could end this process.
        batch.validate(full=True)
        rows += batch.num_rows
        if max_rows is not None and rows > max_rows:
            raise OverLimit(f"more than {max_rows:,} rows: send them in several calls, or raise gateway.max_historical_rows")
        size += batch.nbytes
        if max_bytes is not None and size > max_bytes:
            raise OverLimit(
                f"more than {max_bytes:,} bytes: send them in several calls or without columns that nobody needs, "
                "or raise gateway.max_historical_bytes"
            )
        yield batch


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


class _ChunkFile(io.RawIOBase):
    """A readable file over chunks that arrive one after another."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Return True; there is nothing to seek or write."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        parts: list[memoryview] = []
        while size != 0 and self._fill():
            part = self._left if size < 0 else self._left[:size]
            self._left = self._left[len(part) :]
            size -= len(part) if size > 0 else 0
            parts.append(part)
        return b"".join(parts)

    def _fill(self) -> bool:
        while not self._left:
            try:
                self._left = memoryview(next(self._chunks))
            except StopIteration:
                return False
        return True
