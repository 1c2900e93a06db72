"""From an outcome and a range of positions to a batch; rejects as columns."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import pyarrow as pa

from cluster.records import REJECTS_SCHEMA, Headers, Rejected


def rejects_table(rejected: Sequence[Rejected]) -> pa.Table:
    """Return rejects as a table with schema REJECTS_SCHEMA, in position order."""
    ordered = sorted(rejected, key=lambda r: r.position)
    columns = [
        [r.position for r in ordered],
        [str(r.reason) for r in ordered],
        [r.detail for r in ordered],
        [r.payload for r in ordered],
        [r.key for r in ordered],
        [headers_json(r.headers) for r in ordered],
        [r.time_us for r in ordered],
    ]
    return pa.table(
        [pa.array(column, type=field.type) for column, field in zip(columns, REJECTS_SCHEMA, strict=True)],
        schema=REJECTS_SCHEMA,
    )


def headers_json(headers: Headers) -> str | None:
    """Return headers as JSON text, a list of [name, base64 of the value]; None when there are none."""
    if not headers:
        return None
    return json.dumps([[name, base64.b64encode(value or b"").decode()] for name, value in headers])


def headers_of(text: str | None) -> Headers:
    """Undo `headers_json`."""
    return tuple((name, base64.b64decode(value)) for name, value in json.loads(text)) if text else ()
