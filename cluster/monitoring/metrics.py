"""Every metric by name, meaning and labels; and the port that takes them (decision 0020).

Labels come from small closed sets, or are topics, partitions and sources: never an entity, a file or an upload.
In Prometheus the names start with `ray_`, and those of counters end with `_total`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

EXPORTED = "ray_"


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured, in one sentence, and the names of its labels."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counter(Metric):
    """Only grows, in one process; Prometheus adds up processes and those before them."""

    @property
    def exported(self) -> str:
        """Return its name in Prometheus."""
        return f"{EXPORTED}{self.name}_total"


@dataclass(frozen=True, slots=True)
class Gauge(Metric):
    """How something is now; gone some twenty seconds after the last time that it was set."""

    @property
    def exported(self) -> str:
        """Return its name in Prometheus."""
        return EXPORTED + self.name


@dataclass(frozen=True, slots=True)
class Histogram(Metric):
    """How often values were up to each of `bounds`."""

    bounds: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """Return its name in Prometheus, to which `_bucket`, `_sum` and `_count` are added."""
        return EXPORTED + self.name


class Metrics(Protocol):
    """Takes what is measured; label values in the order of the metric's labels. Any thread. Never raises for being away."""

    def add(self, counter: Counter, amount: float, *labels: str) -> None:
        """Let a counter grow; an amount of 0 is nothing."""

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """Say how something is now."""

    def observe(self, histogram: Histogram, value: float, *labels: str) -> None:
        """Count a value."""


class NoMetrics:
    """Meets Metrics where nobody looks."""

    def add(self, counter: Counter, amount: float, *labels: str) -> None:
        """Forget it."""

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """Forget it."""

    def observe(self, histogram: Histogram, value: float, *labels: str) -> None:
        """Forget it."""


NO_METRICS = NoMetrics()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_READ_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_ROWS = (1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 50_000.0, 100_000.0, 500_000.0)

# Streams.
EVENTS = Counter("raytide_events", "Records that passed validation and are durable.", ("topic", "partition"))
ROWS = Counter("raytide_rows", "Feature rows of streams that are durable.", ("topic",))
REJECTS = Counter("raytide_rejects", "Records of streams that went to quarantine.", ("topic", "reason"))
BATCH_RECORDS = Histogram("raytide_batch_records", "Records of a batch.", ("topic",), _ROWS)
FRESHNESS = Histogram(
    "raytide_freshness_seconds",
    "From an event's own time to its value being readable online; a few events of each batch.",
    ("topic",),
    _SECONDS,
)
LAG_RECORDS = Gauge("raytide_lag_records", "Records in Kafka that are not durable here yet.", ("topic", "partition"))
LAG_SECONDS = Gauge(
    "raytide_lag_seconds", "Age of what is not durable here yet; 0 for a partition that has caught up.", ("topic", "partition")
)
IN_FLIGHT = Gauge("raytide_in_flight_batches", "Batches that were read and are not durable yet.", ("topic", "partition"))
HALTED = Gauge("raytide_partition_halted", "1 for a partition that needs a person, else 0.", ("topic", "partition"))
PARTITIONS = Gauge("raytide_partitions", "Partitions in each state.", ("topic", "state"))

# Files.
UPLOADS = Gauge("raytide_uploads", "Files in each state.", ("state",))
OLDEST_UPLOAD = Gauge("raytide_oldest_upload_seconds", "Age of the oldest file that has not ended; 0 when all have.")
UPLOAD_EVENTS = Counter("raytide_upload_events", "Rows of files that passed validation and are durable.", ("source",))
UPLOAD_REJECTS = Counter("raytide_upload_rejects", "Rows of durable files that went to quarantine.", ("source", "reason"))

# The writer.
WRITER_UP = Gauge("raytide_writer_up", "1 while the writer answers and can write, else 0.")
COMMITS = Counter("raytide_commits", "Transactions with batches of streams.")
COMMIT_SECONDS = Histogram("raytide_commit_seconds", "How long such a transaction took.", (), _SECONDS)
COMMIT_ROWS = Histogram("raytide_commit_rows", "Feature rows of such a transaction.", (), _ROWS)
QUEUED_BATCHES = Gauge("raytide_queued_batches", "Batches that wait for the next transaction.")
QUEUED_BYTES = Gauge("raytide_queued_bytes", "Their bytes; at offline_store.queue_bytes, reading stops.")
HISTORY_BYTES = Gauge("raytide_history_bytes", "Size of the DuckDB file and of its write-ahead log.", ("part",))
DISK_FREE = Gauge("raytide_disk_free_bytes", "What is free on the disk of the DuckDB file.")

# Redis and reads.
ONLINE_OK = Gauge("raytide_online_store_ok", "1 while Redis holds the newest of everything, 0 while it is away or rebuilt.")
ONLINE_VALUES = Counter("raytide_online_values", "Values that were asked for online, by what was answered.", ("status",))
ONLINE_READ_SECONDS = Histogram(
    "raytide_online_read_seconds", "How long an online read took in the gateway.", ("outcome",), _READ_SECONDS
)
REDIS_ERRORS = Counter("raytide_redis_errors", "Exchanges with Redis that failed.", ("kind",))
VERIFIED = Counter("raytide_verified", "Things that `raytide verify` compared.", ("outcome",))
WINDOWS_SECONDS = Gauge("raytide_windows_seconds", "Seconds since windows online were last brought to where history is.", ())

# The cluster.
SLOTS = Gauge("raytide_slots", "Worker slots of the cluster-wide limit that are taken, and those that are free.", ("use",))
SLOTS_WAITING = Gauge("raytide_slots_waiting", "Workers that wait for a slot.", ("kind",))
ACTOR_RESTARTS = Counter("raytide_actor_restarts", "Actors that came back as another process.", ("actor",))

ALL: tuple[Counter | Gauge | Histogram, ...] = tuple(
    declared for declared in list(globals().values()) if isinstance(declared, Counter | Gauge | Histogram)
)
