"""Compares the stores with the truth, once traffic has ended: everything that the columns of the matrix say.

Only what came since the last judgement is compared record by record; `verify` looks at all of it at the end of a cell.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition

from cluster.errors import RaytideError
from generator.events import FeatureEvent, OrderEvent
from generator.profiles import FEATURES_TOPIC
from raytide.answers import OnlineFeatures
from tests.fault.truth import Place, Reject, Row, Truth, Upload
from tests.fault.world import Stuck, World, eventually

#: The columns of the matrix. `stored`: every acknowledged event is in history or quarantine, with its content.
COLUMNS = {
    "stored": "acknowledged = history + quarantine, by position and content",
    "once": "no position twice",
    "ledger": "ledger contiguous",
    "online": "Redis = newest, recomputed",
    "windows": "windows online = events counted",
    "uploads": "files whole, once",
    "quarantine": "quarantine exact, and all of it in the dead-letter topic",
    "verify": "`raytide verify` clean",
}
#: The window that is read, and how long it may be behind what was committed.
COUNTED, WINDOWS_SECONDS = "click_count_7d", 20.0
#: Problems of a column that are written down; they are all counted.
SHOWN = 5

Problems = dict[str, list[str]]
Found = Sequence[Mapping[str, Any]]

# All partitions, and all files, in one question each: what they cost is asking.
_EVENTS = """
    SELECT topic, "partition", position, entity_id, feature_name, value, epoch_us(event_timestamp) AS at,
        epoch_us(features.created_at) AS created
    FROM features JOIN sources USING (source_id) WHERE kind = 'stream' AND ({new})"""
_REJECTS = """
    SELECT topic, "partition", position, payload FROM quarantine JOIN sources USING (source_id)
    WHERE kind = 'stream' AND ({new})"""
_NEW = "(topic = '{topic}' AND \"partition\" = {partition} AND position >= {since} AND position < {until})"
_LEDGER = """
    SELECT topic, "partition", first_position AS first, next_position AS next, batches.epoch AS epoch
    FROM batches JOIN sources USING (source_id) WHERE kind = 'stream' AND ({new}) ORDER BY ALL"""
_FILES = """
    SELECT upload_id, position, entity_id, feature_name, value, epoch_us(event_timestamp) AS at,
        epoch_us(features.created_at) AS created
    FROM features JOIN sources USING (source_id) WHERE kind = 'upload' AND upload_id IN ({uploads})"""
_FILE_REJECTS = """
    SELECT upload_id, position FROM quarantine JOIN sources USING (source_id)
    WHERE kind = 'upload' AND upload_id IN ({uploads})"""

_HALF = """
    SELECT DISTINCT upload_id, state FROM features JOIN sources USING (source_id) JOIN uploads USING (upload_id)
    WHERE kind = 'upload' AND state NOT IN ('COMMITTED', 'DONE')"""


@dataclass
class Judge:
    """Remembers how far each partition has been judged."""

    world: World
    truth: Truth
    judged: dict[Place, int] = field(default_factory=lambda: defaultdict(int))
    files: int = 0
    letters: dict[Place, int] = field(default_factory=dict)  # next offset to read of each dead-letter topic's partitions
    _kafka: Any = None  # a consumer of its own, during a round

    def round(self) -> Problems:
        """Return what is wrong with what came since the last call, by column; raise Stuck when the ledger never gets there."""
        with _consumer(self.world) as self._kafka:
            return self._judge()

    def _judge(self) -> Problems:
        ends = self._caught_up()
        problems: Problems = {column: [] for column in COLUMNS}
        self._partitions(ends, problems)
        problems["ledger"] += self._ledger(ends)
        problems["quarantine"] += self._not_in_the_topic()
        self._uploads(self.truth.uploads[self.files :], problems)
        self.files = len(self.truth.uploads)
        problems["uploads"] += [f"upload {row['upload_id']}: {row['state']}, with rows" for row in self.world.sql(_HALF)]
        problems["online"] += self._online()
        problems["windows"] += self._windows()
        self.judged.update(ends)
        self.truth.records.clear()
        return problems

    def verify(self) -> list[str]:
        """Return what `raytide verify` finds wrong in everything."""
        report = self.world.client.verify(wait_s=30)
        return [f"{c['name']}: {c['offenders']}: {', '.join(c['examples'][:2])}" for c in report["checks"] if c["offenders"]]

    def _caught_up(self) -> dict[Place, int]:
        """Return where each ledger ends, once all of them have passed what was acknowledged."""
        wanted = {place: max(records) + 1 for place, records in self.truth.records.items() if records}
        ends: dict[Place, int] = {}

        def there() -> bool:
            rows = self.world.sql('SELECT topic, "partition", next_offset FROM partitions')
            ends.update({(row["topic"], row["partition"]): row["next_offset"] for row in rows})
            return all(ends.get(place, 0) >= end for place, end in wanted.items()) and ends == self._log_ends(ends)

        eventually(there, f"every ledger reaches {wanted}", every=0.1)
        return dict(ends)

    def _log_ends(self, places: Mapping[Place, int]) -> dict[Place, int]:
        """Return where Kafka's logs end: messages whose acknowledgement was lost may be there too."""
        found = self._kafka.end_offsets([TopicPartition(*place) for place in places])
        return {(tp.topic, tp.partition): end for tp, end in found.items()}

    def _partitions(self, ends: Mapping[Place, int], problems: Problems) -> None:
        new = " OR ".join(
            _NEW.format(topic=place[0], partition=place[1], since=self.judged[place], until=end) for place, end in ends.items()
        )
        events = _grouped(self.world.sql(_EVENTS.format(new=new)), "topic", "partition")
        rejects = _grouped(self.world.sql(_REJECTS.format(new=new)), "topic", "partition")
        for place, end in sorted(ends.items()):
            self._complete(place, self.judged[place], end)
            self._partition(place, events[place], rejects[place], problems)

    def _partition(self, place: Place, events: Found, rejects: Found, problems: Problems) -> None:
        expected, name = self.truth.records[place], f"{place[0]}[{place[1]}]"
        stored, twice = _by_position(events)
        quarantined = {row["position"]: row["payload"] for row in rejects}
        problems["once"] += [f"{name}@{position}: rows twice" for position in twice]
        problems["once"] += [f"{name}@{p}: in both" for p in stored.keys() & quarantined.keys()]
        problems["once"] += [f"{name}: a reject twice"] * (len(rejects) != len(quarantined))
        problems["stored"] += [f"{name}@{p}: {w}" for p, w in _differences(expected, stored)]
        bad = {position: record.payload for position, record in expected.items() if isinstance(record, Reject)}
        problems["quarantine"] += [
            f"{name}@{position}: expected {position in bad}, is there {position in quarantined}"
            for position in sorted(bad.keys() | quarantined.keys())
            if position not in bad or position not in quarantined or bad[position] != quarantined[position]
        ]

    def _not_in_the_topic(self) -> Iterator[str]:
        """Read the dead-letter topics on, and say which bad record of this round is not there. Some may be there twice."""
        there = {place: set(_letters(self._kafka, place[0], self.letters)) for place in self.truth.records if place[1] == 0}
        seen = set().union(*there.values())
        for (topic, partition), records in sorted(self.truth.records.items()):
            for position, record in records.items():
                if isinstance(record, Reject) and (topic, partition, position) not in seen:
                    yield f"{topic}[{partition}]@{position}: not in the dead-letter topic"

    def _complete(self, place: Place, since: int, end: int) -> None:
        """Read from the log what nobody acknowledged: a broker that died may have kept it without saying so."""
        expected = self.truth.records[place]
        missing = [position for position in range(since, end) if position not in expected]
        if missing:
            for offset, value in _read(self._kafka, place, missing[0], end):
                if offset not in expected:
                    self.truth.take(*place, offset, _parsed(place[0], value))

    def _ledger(self, ends: Mapping[Place, int]) -> Iterator[str]:
        # From the last batch of the round before on, so that the seam is looked at too.
        new = [f"(topic = '{t}' AND \"partition\" = {p} AND next_position >= {self.judged[t, p]})" for t, p in ends]
        following: dict[Place, tuple[int, int]] = {}
        for row in self.world.sql(_LEDGER.format(new=" OR ".join(new))):
            place, name = (row["topic"], row["partition"]), f"{row['topic']}[{row['partition']}]"
            before, epoch = following.get(place, (row["first"], 0))
            if row["first"] != before:
                yield f"{name}: a batch starts at {row['first']}, the one before ended at {before}"
            if row["epoch"] < epoch:
                yield f"{name}: epoch {row['epoch']} wrote after epoch {epoch}, at {row['first']}"
            following[place] = (row["next"], row["epoch"])
        for place, end in ends.items():
            if end and following.get(place, (0, 0))[0] != end:
                yield f"{place[0]}[{place[1]}]: the ledger ends at {following.get(place, (0, 0))[0]}, the partition is at {end}"

    def _uploads(self, uploads: Sequence[Upload], problems: Problems) -> None:
        ids = ", ".join(f"'{upload.upload_id}'" for upload in uploads)
        if ids:
            events = _grouped(self.world.sql(_FILES.format(uploads=ids)), "upload_id")
            rejects = _grouped(self.world.sql(_FILE_REJECTS.format(uploads=ids)), "upload_id")
            for upload in uploads:
                at = (upload.upload_id,)
                self._file(upload, events[at], [row["position"] for row in rejects[at]], problems)

    def _file(self, upload: Upload, events: Found, rejects: Sequence[int], problems: Problems) -> None:
        stored, twice = _by_position(events)
        name, expected = f"upload {upload.upload_id}", dict(enumerate(upload.rows))
        good = {n: row for n, row in expected.items() if row is not None}
        problems["uploads"] += [f"{name}: row {n} twice" for n in twice]
        problems["uploads"] += [f"{name}: row {p}: {w}" for p, w in _differences(good, stored)]
        if sorted(rejects) != sorted(expected.keys() - good.keys()):
            problems["quarantine"].append(f"{name}: {len(rejects)} rejects, {len(expected) - len(good)} expected")

    def _windows(self) -> list[str]:
        """Compare what the gateway counts, once what was committed has reached it."""
        entities = [*sorted(self.truth.clicks), "nobody"]
        wrong = ["never answered"]

        def right() -> bool:
            with contextlib.suppress(RaytideError):
                wrong[:] = _wrong_counts(self.truth, entities, self.world.client.get_online_features([COUNTED], entities))
            return not wrong

        with contextlib.suppress(Stuck):
            eventually(right, f"{COUNTED} is right", seconds=WINDOWS_SECONDS, every=0.1)
        return wrong

    def _online(self) -> Iterator[str]:
        """Compare every field of every entity, once files have reached Redis too."""
        expected = self.truth.online()
        entities = sorted({entity for entity, _ in expected})
        server = self.world.redis()
        known = {key.removeprefix("entity:") for key in server.scan_iter("entity:*", count=1000)}
        yield from (f"{entity}: online, but nobody sent it" for entity in sorted(known - set(entities)))
        pipeline = server.pipeline(transaction=False)
        for entity in entities:
            pipeline.hgetall(f"entity:{entity}")
        found = dict(zip(entities, pipeline.execute(), strict=True))
        server.close()
        for (entity, feature), (at, values) in expected.items():
            text, stamp = found[entity].get(feature), found[entity].get(f"{feature}:ts", "")
            value = None if not text else float(text)
            right = any(value == wanted or _close(value, wanted) for wanted in values)
            if text is None or stamp.partition(":")[0] != str(at) or not right:
                yield f"{entity} {feature}: online is {text} at {stamp}, should be one of {sorted(values, key=str)} at {at}"


def _wrong_counts(truth: Truth, entities: Sequence[str], answer: OnlineFeatures) -> list[str]:
    counts = zip(entities, answer.values[0].tolist(), answer.event_timestamps[0].tolist(), strict=True)
    expected = ((entity, count, truth.in_a_week(entity, at)) for entity, count, at in counts)
    return [f"{entity}: {COUNTED} is {count}, should be {wanted}" for entity, count, wanted in expected if count != wanted]


def _grouped(rows: Found, *names: str) -> Mapping[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Return rows by the values of some columns; none for values that do not occur."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return found


def _by_position(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[int, tuple[Row, ...]], list[int]]:
    """Return rows by position, and the positions that have a feature twice."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["position"]].append((row["entity_id"], row["feature_name"], row["value"], row["at"], row["created"]))
    twice = [position for position, several in found.items() if len({row[1] for row in several}) != len(several)]
    return {position: tuple(sorted(several, key=str)) for position, several in found.items()}, twice


def _differences(expected: Mapping[int, Any], stored: Mapping[int, Any]) -> Iterator[tuple[int, str]]:
    for position in sorted(expected.keys() | stored.keys()):
        wanted = expected.get(position)
        if isinstance(wanted, Reject):
            if position in stored:
                yield position, "is in history, should be rejected"
        elif wanted is None:
            yield position, "is in history, was never acknowledged or read"
        elif (found := stored.get(position)) is None:
            yield position, "is lost"
        elif not _same(wanted, found):
            yield position, f"is {found}, should be {wanted}"


def _same(wanted: Sequence[Row], found: Sequence[Row]) -> bool:
    return len(wanted) == len(found) and all(_equal(w, f) for w, f in zip(wanted, found, strict=True))


def _equal(wanted: Row, found: Row) -> bool:
    same_value = wanted[2] == found[2] or _close(wanted[2], found[2])
    return wanted[:2] == found[:2] and same_value and wanted[3] == found[3] and wanted[4] in {None, found[4]}


def _close(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= 1e-12 * max(abs(one), abs(other))


@contextlib.contextmanager
def _consumer(world: World) -> Iterator[Any]:
    consumer = KafkaConsumer(bootstrap_servers=world.bootstrap.split(","), enable_auto_commit=False, metrics_enabled=False)
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False)


def _read(consumer: Any, place: Place, first: int, end: int) -> Iterator[tuple[int, bytes | None]]:
    tp = TopicPartition(*place)
    consumer.assign([tp])
    consumer.seek(tp, first)
    while consumer.position(tp) < end:
        for record in consumer.poll(1_000).get(tp, ()):
            yield record.offset, record.value


def _letters(consumer: Any, topic: str, following: dict[Place, int]) -> Iterator[tuple[str, int, int]]:
    """Read a topic's dead letters from where the last call ended; yield topic, partition and offset of each."""
    name = f"{topic}.dead-letters"
    places = [TopicPartition(name, partition) for partition in consumer.partitions_for_topic(name) or ()]
    ends = consumer.end_offsets(places) if places else {}
    consumer.assign(places)
    for tp in places:
        consumer.seek(tp, following.get((name, tp.partition), 0))
    while any(consumer.position(tp) < ends[tp] for tp in places):
        for records in consumer.poll(1_000).values():
            for record in records:
                headers = dict(record.headers)
                yield topic, int(headers["source-partition"]), int(headers["source-offset"])
    following.update({(name, tp.partition): consumer.position(tp) for tp in places})


def _parsed(topic: str, value: bytes | None) -> FeatureEvent | OrderEvent | Reject:
    """Return a record of the log as the event that it was sent as, or as one that must be rejected."""
    kind: Any = FeatureEvent if topic == FEATURES_TOPIC else OrderEvent
    try:
        event = msgspec.json.decode(value or b"", type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return Reject(value)
    return event if _is_good(event) else Reject(value)


def _is_good(event: Any) -> bool:
    entity = str(getattr(event, "entity_id", None) or getattr(event, "user_id", ""))
    known = getattr(event, "feature_name", "") != "no_such_feature"
    time = getattr(event, "validated_at", None) or event.timestamp
    return bool(entity) and len(entity) <= 256 and entity.isprintable() and known and time.year < 2030
