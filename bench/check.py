"""Whether a drain did its work: all rows in DuckDB once, and Redis at the newest of them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import redis

SAMPLE = 2_000

_COUNTS = "SELECT count(*), count(DISTINCT (source_id, position)), sum(value::DECIMAL(18, 6)) FROM features"
_NEWEST = """
    SELECT entity_id, feature_name, arg_max(value, (event_timestamp, created_at, position)), max(epoch_us(event_timestamp))
    FROM features GROUP BY entity_id, feature_name ORDER BY hash(entity_id, feature_name)"""


def check(database: Path, redis_url: str, events: int) -> Decimal:
    """Return the sum of all values, for comparison between drains; raise AssertionError with what is wrong."""
    with duckdb.connect(str(database), read_only=True) as connection:
        rows, distinct, total = connection.execute(_COUNTS).fetchone()
        if (rows, distinct) != (events, events):
            raise AssertionError(f"{database}: {rows} rows of {distinct} records, {events} expected")
        newest = connection.execute(_NEWEST).fetchmany(SAMPLE)
    with redis.Redis.from_url(redis_url) as server:
        pipeline = server.pipeline(transaction=False)
        for entity, feature, *_ in newest:
            pipeline.hmget(f"entity:{entity}", feature, f"{feature}:ts")
        for (entity, feature, value, event), (stored, time) in zip(newest, pipeline.execute(), strict=True):
            if stored is None or float(stored) != value or int(time.partition(b":")[0]) != event:
                raise AssertionError(f"{database}: Redis is not at the newest {feature} of {entity}")
    return Decimal(total)
