"""The path by hand: confluent-kafka, msgspec, DuckDB and redis-py in one loop. Runs in the bench environment.

    plain_loop.py BOOTSTRAP TOPIC EVENTS REDIS_URL DUCKDB_FILE

What a good engineer writes in an afternoon: same sinks, same formats, same newest-wins, same reduction inside a batch,
offsets in the transaction of the rows. One process, for a DuckDB file has one writer. It leaves out what an afternoon
leaves out: validation beyond types, quarantine, fencing, limits, recovery, reads. Prints `ready` when it waits for
records, then the time (seconds) at which the last one was durable.
"""

import sys
import time
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import redis
from confluent_kafka import Consumer, Message, TopicPartition

BATCH, ENTITIES_PER_CALL = 20_000, 250
NEWEST_WINS = """
local at = 1
for _, key in ipairs(KEYS) do
  for _ = 1, tonumber(ARGV[at]) do
    local feature, value, time = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local stored = redis.call('HGET', key, feature .. ':ts')
    if not stored or stored <= time then redis.call('HSET', key, feature, value, feature .. ':ts', time) end
    at = at + 3
  end
  at = at + 1
end"""  # times of equal length compare as text


class Record(msgspec.Struct):
    """The fields that are kept; typed decoding checks them."""

    entity_id: str
    feature_name: str
    value: float | None
    validated_at: str
    created_at: str


def main(bootstrap: str, topic: str, events: int, redis_url: str, file: str) -> None:
    """Read `events` records into both stores."""
    database = duckdb.connect(file)
    database.execute("""CREATE TABLE features(entity_id VARCHAR, feature_name VARCHAR, value DOUBLE, event_timestamp TIMESTAMP,
        created_at TIMESTAMP, source_id INTEGER, position BIGINT)""")
    database.execute("""CREATE TABLE partitions("partition" INTEGER PRIMARY KEY, next_offset BIGINT)""")
    server = redis.Redis.from_url(redis_url)
    script = server.register_script(NEWEST_WINS)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(2)])
    consumer.consume(1, 1.0)  # connects; the backlog is not released yet
    print("ready", flush=True)
    decode, seen = msgspec.json.Decoder(Record).decode, 0
    while seen < events:
        messages = consumer.consume(BATCH, 0.1)
        if not messages:
            continue
        records = [decode(message.value()) for message in messages]
        rows = to_table(records, messages)
        write_online(server, script, rows)
        ends = {message.partition(): message.offset() + 1 for message in messages}
        database.execute("BEGIN")
        database.execute("INSERT INTO features SELECT * FROM rows")
        database.executemany("INSERT OR REPLACE INTO partitions VALUES (?, ?)", list(ends.items()))
        database.execute("COMMIT")
        seen += len(messages)
    print(time.time(), flush=True)
    sys.stdin.read()  # until its CPU time was read


def to_table(records: list[Record], messages: list[Message]) -> pa.Table:
    """Return the rows of the features table."""
    time_type = pa.timestamp("us", "UTC")
    return pa.table({
        "entity_id": [r.entity_id for r in records],
        "feature_name": [r.feature_name for r in records],
        "value": pa.array([r.value for r in records], pa.float64()),
        "event_timestamp": pa.array([r.validated_at for r in records]).cast(time_type).cast(pa.timestamp("us")),
        "created_at": pa.array([r.created_at for r in records]).cast(time_type).cast(pa.timestamp("us")),
        "source_id": pa.array([m.partition() for m in messages], pa.int32()),
        "position": pa.array([m.offset() for m in messages], pa.int64()),
    })  # fmt: skip


def write_online(server: redis.Redis, script: "redis.commands.core.Script", rows: pa.Table) -> None:
    """Reduce to the newest of each (entity, feature), then let the server compare and set."""
    newest: dict[str, dict[str, tuple[int, int, float | None]]] = {}
    times = (rows[name].cast(pa.int64()).to_pylist() for name in ("event_timestamp", "created_at"))
    entities, features, values = (rows[name].to_pylist() for name in ("entity_id", "feature_name", "value"))
    for entity, feature, value, event, created in zip(entities, features, values, *times, strict=True):
        of_entity = newest.setdefault(entity, {})
        if feature not in of_entity or of_entity[feature][:2] <= (event, created):
            of_entity[feature] = event, created, value
    found = list(newest.items())
    pipeline = server.pipeline(transaction=False)
    for first in range(0, len(found), ENTITIES_PER_CALL):
        arguments: list[Any] = []
        for _, of_entity in (some := found[first : first + ENTITIES_PER_CALL]):
            arguments.append(len(of_entity))
            for feature, (event, created, value) in of_entity.items():
                arguments += (feature, "" if value is None else repr(value), f"{event}:{created}")
        script(keys=[f"entity:{entity}" for entity, _ in some], args=arguments, client=pipeline)
    pipeline.execute()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
