"""What the benchmark of historical reads stores and asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

FEATURES = [f"feature_{n}" for n in range(10)]
USER, TIME = "user_id", "event_timestamp"
USERS = 10_000
#: All events lie in the 30 days after it (µs), and all questions in the last 29: each user has a value by then.
BEGIN = 1_767_225_600_000_000
SPAN = 30 * 86_400_000_000


def write_events(path: Path, events: int) -> None:
    """Write events of random users, all features in each, in the order of their times."""
    numbers = np.random.default_rng(1)
    times = BEGIN + np.sort(numbers.choice(SPAN // 1_000_000, events, replace=events > SPAN // 1_000_000)) * 1_000_000
    users = np.concatenate([np.arange(USERS), numbers.integers(USERS, size=max(0, events - USERS))])[:events]
    columns = {name: pa.array(numbers.random(events)) for name in FEATURES}
    _write(path, {USER: _users(users), TIME: _times(times + np.arange(events) % 1_000_000), **columns})


def write_rows(path: Path, rows: int) -> None:
    """Write entity rows in no order: `n`, a user and a time."""
    numbers = np.random.default_rng(2)
    times = BEGIN + SPAN // 30 + numbers.integers(SPAN - SPAN // 30, size=rows)
    _write(path, {"n": pa.array(np.arange(rows)), USER: _users(numbers.integers(USERS, size=rows)), TIME: _times(times)})


def _users(numbers: np.ndarray) -> pa.Array:
    return pa.array([f"user_{n}" for n in numbers.tolist()])


def _times(micros: np.ndarray) -> pa.Array:
    return pa.array(micros, pa.timestamp("us"))


def _write(path: Path, columns: dict[str, pa.Array]) -> None:
    parquet.write_table(pa.table(columns), path)
