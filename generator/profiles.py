"""What a run sends: frozen policies. Each option of the command replaces one field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cluster.errors import Misconfigured

FEATURES_TOPIC = "raytide.features"
ORDERS_TOPIC = "raytide.orders"
FEATURES_SOURCE = "features"
#: Suffixes of files that can be uploaded; and how each is sent: once, again under the same key after it was taken, two
#: files at once, or broken off by the sender and then resumed.
FILE_KINDS = ("csv", "parquet", "jsonl", "csv.gz", "csv.zst", "jsonl.gz", "jsonl.zst")
PLAIN_FILE_KINDS = FILE_KINDS[:3]
FILE_WAYS = ("once", "twice", "pair", "cut")
FEATURES = ("click", "search_count_7d", "user_age", "account_balance", "session_seconds", "risk_score")


@dataclass(frozen=True, slots=True)
class Profile:
    """The shape of the load.

    `rate` is messages a second over all producers, 0 for as fast as it can. Every `burst_every_s` it is `burst_rate`
    for `burst_s`. `skew` is the exponent of a Zipf distribution over entities; 0 takes them in turn. The others are
    shares between 0 and 1 of all messages.
    """

    rate: float = 10.0
    burst_rate: float = 0.0
    burst_every_s: float = 0.0
    burst_s: float = 0.0
    skew: float = 0.0
    orders: float = 0.0
    bad: float = 0.0
    late: float = 0.0
    duplicate: float = 0.0
    out_of_order: float = 0.0
    null: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense together."""
        if min(self.rate, self.burst_rate, self.burst_every_s, self.burst_s, self.skew) < 0:
            raise Misconfigured("rates, seconds and skew cannot be negative")
        shares = (self.orders, self.bad, self.late, self.duplicate, self.out_of_order, self.null)
        if min(shares) < 0 or max(shares) > 1 or self.bad + self.duplicate > 1 or self.late + self.out_of_order > 1:
            raise Misconfigured("shares lie between 0 and 1; so do bad + duplicate, and late + out-of-order")


PROFILES: Mapping[str, Profile] = {
    "seed": Profile(rate=10),
    "steady": Profile(rate=1_000, orders=0.2, bad=0.01, late=0.02, duplicate=0.01, out_of_order=0.02),
    "burst": Profile(rate=200, burst_rate=5_000, burst_every_s=10, burst_s=2, orders=0.2, bad=0.01, late=0.02, duplicate=0.01),
    "skew": Profile(rate=1_000, skew=1.2, orders=0.2, bad=0.01, out_of_order=0.05),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """One run. With the same seed, start, count, producers and profile, the same messages are sent.

    `gateway` None means no uploads. Without `count` and `duration_s` it runs until it is stopped. Files have `upload_rows`
    rows, or as many as make about `file_bytes`; `file_kinds` and `file_ways` are taken in turn.
    """

    bootstrap_servers: str
    gateway: str | None = None
    profile: Profile = PROFILES["seed"]
    entities: int = 100
    features: tuple[str, ...] = FEATURES
    producers: int = 2
    count: int | None = None
    duration_s: float | None = None
    seed: int = 1
    start: datetime = field(default_factory=lambda: datetime.now(UTC))
    batch_messages: int = 5
    batch_seconds: float = 2.0
    uploads_every_s: float = 10.0
    upload_rows: int = 500
    file_bytes: int | None = None
    file_kinds: tuple[str, ...] = PLAIN_FILE_KINDS
    file_ways: tuple[str, ...] = ("once",)
    in_flight: int = 5_000
    give_up_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if min(self.entities, self.producers, self.batch_messages, self.upload_rows, self.in_flight) < 1 or not self.features:
            raise Misconfigured("entities, features, producers, messages in a batch and rows in a file must be at least 1")
        if min(self.batch_seconds, self.uploads_every_s, self.give_up_s) <= 0:
            raise Misconfigured("the seconds for a batch, between uploads and for giving up must be above 0")
        if (self.count is not None and self.count < 0) or (self.duration_s is not None and self.duration_s < 0):
            raise Misconfigured("count and duration cannot be negative")
        if self.file_bytes is not None and self.file_bytes < 1:
            raise Misconfigured("a file has at least 1 byte")
        for chosen, known in ((self.file_kinds, FILE_KINDS), (self.file_ways, FILE_WAYS)):
            if not chosen or not set(chosen) <= set(known):
                raise Misconfigured(f"files cannot be '{','.join(chosen)}': choose one or more of {','.join(known)}")
        if self.start.tzinfo is None:
            raise Misconfigured("the start needs an offset from UTC")
