"""Puts a backlog into a new Kafka topic, out of sight of consumers until it is released. Runs in the bench environment.

    prepare.py BOOTSTRAP TOPIC ENTITIES EVENTS PARTITIONS

All of it is one transaction: the records are in Kafka, but a reader of committed data sees none. Prints `prepared`,
waits for a line on standard input, commits, and prints the time (seconds) at which it began to. So a consumer that is
up and waiting gets the whole backlog at once, and the clock needs no guess about when it started.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

FEATURES = [f"feature_{n}" for n in range(5)]
SETTINGS = {
    "log_level": 3,  # a broker that is still loading is not worth a word
    "transaction.timeout.ms": 900_000,
    "compression.type": "zstd",
    "linger.ms": 50,
    "batch.num.messages": 500,
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 200_000,
}


def main(bootstrap: str, topic: str, entities: int, events: int, partitions: int) -> None:
    """Fill the topic, then release it on demand."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    producer = Producer({**SETTINGS, "bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    produce(producer, topic, entities, events)
    producer.flush(300)
    print("prepared", flush=True)
    sys.stdin.readline()
    released = time.time()
    producer.commit_transaction(60)
    print(released, flush=True)


def produce(producer: Producer, topic: str, entities: int, events: int) -> None:
    """Send messages like those of the demo's source: random entities and features, times one millisecond apart."""
    chance = random.Random(entities)  # noqa: S311 - made-up data, the same in each run
    start = datetime.now(UTC) - timedelta(days=1)
    for number in range(events):
        entity = f"user_{chance.randrange(entities)}"
        validated = start + timedelta(milliseconds=number)
        created = validated + timedelta(seconds=1)
        uuid = str(UUID(int=chance.getrandbits(128), version=4))
        value = (
            f'{{"id":"{uuid}","entity_id":"{entity}","feature_name":"{FEATURES[chance.randrange(5)]}",'
            f'"value":{chance.random() * 1000:.6f},"validated_at":"{validated:%Y-%m-%dT%H:%M:%S.%fZ}",'
            f'"created_at":"{created:%Y-%m-%dT%H:%M:%S.%fZ}"}}'
        )
        headers = [("id", uuid.encode()), ("content-type", b"application/json")]
        while True:
            try:
                producer.produce(topic, value, entity, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
