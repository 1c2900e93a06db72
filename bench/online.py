"""Online reads through gRPC, Raytide beside Feast: one client, one Redis-compatible server. `python -m bench.online`.

Both answer Feast's protocol, so one client reads both; Raytide's own protocol is read as well. The values of both are compared
first. Servers, store and client share the machine. Latency is that of one read after another, from values asked for to
values in hand; throughput that of some threads at once, which send prepared questions and count the answers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import pyarrow as pa
from featurestore.feast import serving_pb2, value_pb2
from featurestore.v1 import features_pb2
from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from bench import feast_environment
from bench.drains import expect, line, script
from cluster.stack import manager

BENCH = Path(__file__).parent
FEATURES = [f"feature_{n}" for n in range(10)]
SIZES = (1, 100)
WARM_UP = 200
COMPARED = 500
SECONDS = 60.0
PREPARED = 200  # questions of a throughput, asked again and again


@dataclass(frozen=True)
class Result:
    """One reader, one size of read: milliseconds, and reads a second with `threads` threads."""

    reader: str
    entities: int
    features: int
    p50_ms: float
    p99_ms: float
    threads: int
    reads_per_s: float


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    feast = None if options.without_feast else feast_environment.ensure(state / "bench-feast-venv")
    folder = Path(tempfile.mkdtemp(prefix="online-", dir=state))
    try:
        url = str(manager.up(folder, redis_port=0, services={manager.VALKEY}).redis_url)
        results = _run(options, url, folder, feast)
    finally:
        manager.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        sys.stdout.write(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    else:
        _print(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.online", description=__doc__)
    parser.add_argument("--users", type=int, default=10_000, help="entities in the store (default %(default)s)")
    parser.add_argument("--reads", type=int, default=5_000, help="reads for a latency (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for a throughput (default %(default)s)")
    parser.add_argument("--threads", type=int, default=4, help="readers for a throughput (default %(default)s)")
    parser.add_argument("--without-feast", action="store_true", help="measure Raytide alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _run(options: argparse.Namespace, url: str, folder: Path, feast: Path | None) -> list[Result]:
    values = folder / "values.parquet"
    users = [f"user_{n}" for n in range(options.users)]
    _write(values, users)
    with ExitStack() as stack:
        raytide = stack.enter_context(_raytide(url, values))
        readers: dict[str, Reader] = {"raytide": Own(raytide), "raytide, Feast's protocol": Feasts(raytide)}
        if feast is not None:
            readers["feast 0.67.0"] = Feasts(stack.enter_context(_feast(feast, folder, url, values)))
        _compare(readers, users)
        return [_measure(name, read, users, size, options) for size in SIZES for name, read in readers.items()]


def _write(path: Path, users: Sequence[str]) -> None:
    numbers = np.random.default_rng(1)
    now = datetime.now(UTC).replace(microsecond=0)
    columns = {name: pa.array(numbers.random(len(users))) for name in FEATURES}
    times = pa.array([now] * len(users), pa.timestamp("us", "UTC"))
    parquet.write_table(pa.table({"user_id": pa.array(users), "event_timestamp": times, **columns}), path)


@contextmanager
def _raytide(url: str, values: Path) -> Iterator[str]:
    with script(Path(sys.executable), "-m", "bench.online_raytide", url, values) as process:
        yield f"127.0.0.1:{line(process)}"


@contextmanager
def _feast(python: Path, folder: Path, url: str, values: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    repository = folder / "feast"
    repository.mkdir()
    with script(python, BENCH / "online_feast.py", repository, urlsplit(url).netloc, port, values) as process:
        expect(process, "ready")
        yield f"127.0.0.1:{port}"


class Reader(ABC):
    """One way to read. A throughput counts answers without looking into them, or it would be the client's."""

    def __init__(self, address: str, method: str) -> None:
        self._call: Any = grpc.insecure_channel(address).unary_unary(method)

    @abstractmethod
    def question(self, users: Sequence[str]) -> bytes:
        """Return a request for all features of some users."""

    @abstractmethod
    def values(self, answer: bytes) -> list[list[float]]:
        """Return the values in an answer, by feature."""

    def send(self, question: bytes) -> bytes:
        """Ask, and return the answer."""
        answer: bytes = self._call(question, timeout=SECONDS)
        return answer

    def __call__(self, users: Sequence[str]) -> list[list[float]]:
        """Return the values of some users, by feature."""
        return self.values(self.send(self.question(users)))


class Own(Reader):
    """Raytide's own protocol."""

    def __init__(self, address: str) -> None:
        super().__init__(address, "/featurestore.v1.FeatureService/GetOnlineFeatures")

    def question(self, users: Sequence[str]) -> bytes:
        """See Reader."""
        return features_pb2.GetOnlineFeaturesRequest(features=FEATURES, entity_ids=users).SerializeToString()

    def values(self, answer: bytes) -> list[list[float]]:
        """See Reader."""
        return [list(vector.values) for vector in features_pb2.GetOnlineFeaturesResponse.FromString(answer).vectors]


class Feasts(Reader):
    """Feast's protocol."""

    def __init__(self, address: str) -> None:
        super().__init__(address, "/GrpcFeatureServer/GetOnlineFeatures")  # the service of Feast's server in Python
        self._names = serving_pb2.FeatureList(val=[f"stats:{name}" for name in FEATURES])

    def question(self, users: Sequence[str]) -> bytes:
        """See Reader."""
        ids = value_pb2.RepeatedValue(val=[value_pb2.Value(string_val=user) for user in users])
        return serving_pb2.GetOnlineFeaturesRequest(features=self._names, entities={"user_id": ids}).SerializeToString()

    def values(self, answer: bytes) -> list[list[float]]:
        """See Reader."""
        parsed = serving_pb2.GetOnlineFeaturesResponse.FromString(answer)
        found = dict(zip(parsed.metadata.feature_names.val, parsed.results, strict=True))
        return [[value.double_val for value in found[name].values] for name in FEATURES]


def _compare(readers: dict[str, Reader], users: Sequence[str]) -> None:
    """Raise RuntimeError when two readers differ in a value."""
    some = users[:COMPARED]
    (first, expected), *others = [(name, read(some)) for name, read in readers.items()]
    for name, found in others:
        if found != expected:
            raise RuntimeError(f"{name} and {first} answer with other values: nothing is measured")
    print(f"{len(some) * len(FEATURES):,} values of each of {len(readers)} readers compared, 0 differ", file=sys.stderr)


def _measure(name: str, read: Reader, users: Sequence[str], size: int, options: argparse.Namespace) -> Result:
    questions = _questions(users, size)
    for _ in range(WARM_UP):
        read(next(questions))
    took = []
    for _ in range(options.reads):
        question = next(questions)
        started = time.perf_counter()
        read(question)
        took.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.quantile(took, [0.5, 0.99])
    rate = _rate(read, users, size, options)
    return Result(name, size, len(FEATURES), round(float(p50), 3), round(float(p99), 3), options.threads, round(rate, 1))


def _questions(users: Sequence[str], size: int) -> Iterator[list[str]]:
    numbers = np.random.default_rng(size)
    while True:
        yield [users[n] for n in numbers.integers(len(users), size=size)]


def _rate(reader: Reader, users: Sequence[str], size: int, options: argparse.Namespace) -> float:
    counts: list[int] = []
    questions = [reader.question(asked) for asked in itertools.islice(_questions(users, size), PREPARED)]
    end = time.monotonic() + options.seconds

    def ask() -> None:
        count = 0
        while time.monotonic() < end:
            reader.send(questions[count % PREPARED])
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=ask) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return float(sum(counts) / options.seconds)


def _print(results: Sequence[Result]) -> None:
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    title = f"{datetime.now(UTC).date().isoformat()}, {machine}: online reads of {len(FEATURES)} features"
    table = Table(title=title, title_justify="left")
    for column in ("entities", "reader", "p50 ms", "p99 ms", f"reads/s, {results[0].threads} threads"):
        table.add_column(column, justify="left" if column == "reader" else "right", no_wrap=True)
    for r in results:
        table.add_row(str(r.entities), r.reader, f"{r.p50_ms:.2f}", f"{r.p99_ms:.2f}", f"{r.reads_per_s:,.0f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
