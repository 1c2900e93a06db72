"""Sends orders to a Kafka topic: first old ones, then new ones at a rate. Runs in the bench environment.

    steady.py BOOTSTRAP TOPIC OLD RATE

Prints `ready` when the old ones are sent; they lie in the first days of 2026, a second apart. Waits for a line on standard
input, then sends RATE orders a second, of now, until standard input ends.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS, USERS = 2, 10_000
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
TICK_SECONDS = 0.01
SETTINGS = {"linger.ms": 5, "partitioner": "murmur2_random", "queue.buffering.max.messages": 200_000}


def main(bootstrap: str, topic: str, old: int, rate: int) -> None:
    """Fill the topic, then go on at the rate."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    producer = Producer({**SETTINGS, "bootstrap.servers": bootstrap})
    for number in range(old):
        send(producer, topic, FIRST + timedelta(seconds=number))
    producer.flush(300)
    print("ready", flush=True)
    sys.stdin.readline()
    ended = threading.Event()
    threading.Thread(target=wait_for_end, args=(ended,), daemon=True).start()
    started, sent = time.monotonic(), 0
    while not ended.wait(TICK_SECONDS):
        due = int((time.monotonic() - started) * rate)
        for _ in range(due - sent):
            send(producer, topic, datetime.now(UTC))
        sent = due
        producer.poll(0)
    producer.flush(30)


def wait_for_end(ended: threading.Event) -> None:
    """Set the event when standard input ends."""
    sys.stdin.read()
    ended.set()


def send(producer: Producer, topic: str, at: datetime) -> None:
    """Send one order of a random user."""
    user = f"user_{random.randrange(USERS)}"  # noqa: S311 - made-up data
    value = f'{{"user_id":"{user}","at":"{at:%Y-%m-%dT%H:%M:%S.%fZ}","amount":{random.random() * 1000:.6f}}}'  # noqa: S311
    while True:
        try:
            producer.produce(topic, value, user)
            break
        except BufferError:
            producer.poll(0.1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
