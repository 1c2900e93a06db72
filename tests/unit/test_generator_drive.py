from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError, NotLeaderForPartitionError
from rich.console import Console
from typer.testing import CliRunner

from cluster.errors import Unreachable
from generator import __main__ as command
from generator import drive, link
from generator.drive import Producer
from generator.events import Message
from generator.link import Link
from generator.profiles import Profile, Settings
from generator.report import print_report
from generator.tally import Report, Sent, Tally


class Future:
    def __init__(self) -> None:
        self.is_done = False
        self.exception: Exception | None = None
        self.value: Any = None
        self.gone = threading.Event()

    def get(self, timeout: float) -> Any:
        if not self.gone.wait(timeout):
            raise KafkaTimeoutError
        return self.value

    def answer(self, offset: int = 0, error: Exception | None = None) -> None:
        self.exception, self.value = error, SimpleNamespace(offset=offset)
        self.is_done = True
        self.gone.set()


class FakeProducer:
    """Stands for kafka-python's: `react` decides what becomes of each message."""

    def __init__(self, react: Callable[[FakeProducer, Future], None]) -> None:
        self._react = react
        self.sent: list[tuple[str, Any, bytes, list[tuple[str, bytes]], int]] = []
        self.futures: list[Future] = []
        self.closed = False
        self._sender = SimpleNamespace(force_close=lambda: None, join=lambda _seconds: None)

    def partitions_for(self, _topic: str) -> set[int]:
        return {0, 1}

    def send(self, topic: str, value: Any, key: bytes, headers: list[tuple[str, bytes]], partition: int) -> Future:
        future = Future()
        self.sent.append((topic, value, key, headers, partition))
        self.futures.append(future)
        self._react(self, future)
        return future

    def close(self, timeout: float) -> None:
        assert timeout == 0
        self.closed = True


def answer_all(futures: list[Future]) -> None:
    for future in futures:
        future.answer()


def acknowledge(producer: FakeProducer, future: Future) -> None:
    future.answer(offset=len(producer.sent) - 1)


class Kafka:
    """Makes fake producers; each behaves as the next of `reactions` says, the last one for good."""

    def __init__(self, *reactions: Callable[[FakeProducer, Future], None]) -> None:
        self._reactions = list(reactions)
        self.producers: list[FakeProducer] = []

    def __call__(self, **_config: Any) -> FakeProducer:
        react = self._reactions.pop(0) if len(self._reactions) > 1 else self._reactions[0]
        self.producers.append(FakeProducer(react))
        return self.producers[-1]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kafka]:
    def install(*reactions: Callable[[FakeProducer, Future], None]) -> Kafka:
        kafka = Kafka(*reactions)
        monkeypatch.setattr(link, "KafkaProducer", kafka)
        return kafka

    return install


def fast(**changes: Any) -> Settings:
    return Settings("nowhere:1", **{"profile": Profile(rate=0), "count": 100, **changes})


def test_everything_is_sent_and_seen(use: Callable[..., Kafka]) -> None:
    seen: list[Sent] = []
    kafka = use(acknowledge)
    report = drive.run(fast(count=101, profile=Profile(rate=0, bad=0.1, orders=0.3)), seen.append)
    assert (report.sent, report.acknowledged, report.failed, report.ok) == (101, 101, 0, True)
    assert len(seen) == 101
    assert sorted(len(producer.sent) for producer in kafka.producers) == [50, 51]
    assert all(producer.closed for producer in kafka.producers)
    for producer in kafka.producers:
        for _topic, _value, _key, headers, _partition in producer.sent:
            assert [name for name, _ in headers] == ["id", "content-type"]
    assert sum(report.bad.values()) == sum(sent.event is None for sent in seen) > 0
    sent = {(p.topic, p.partition): p.sent for p in report.partitions}
    assert len(sent) == 4
    assert sum(sent.values()) == 101


def test_a_key_stays_in_its_partition(use: Callable[..., Kafka]) -> None:
    kafka = use(acknowledge)
    drive.run(fast(count=600))
    places = {(key, partition) for producer in kafka.producers for _, _, key, _, partition in producer.sent}
    assert len({key for key, _ in places}) == len(places) == 100


def test_one_bad_answer_costs_a_producer_not_the_run(use: Callable[..., Kafka]) -> None:
    def third_fails(producer: FakeProducer, future: Future) -> None:
        if len(producer.sent) == 3:
            future.answer(error=NotLeaderForPartitionError())
        else:
            acknowledge(producer, future)

    kafka = use(third_fails, acknowledge)
    report = drive.run(fast(producers=1, batch_messages=1))
    assert (report.sent, report.acknowledged, report.failed, report.ok) == (100, 99, 1, False)
    assert report.rebuilt_producers == 1
    assert report.errors == {"NotLeaderForPartitionError": 1}
    assert [len(producer.sent) for producer in kafka.producers] == [3, 97]


def test_what_is_in_flight_is_bounded(use: Callable[..., Kafka]) -> None:
    most = 0

    def late(producer: FakeProducer, _future: Future) -> None:
        nonlocal most
        open_ones = [future for future in producer.futures if not future.is_done]
        most = max(most, len(open_ones))
        if len(open_ones) == 20:
            threading.Timer(0.01, answer_all, [open_ones]).start()

    use(late)
    report = drive.run(fast(producers=1, in_flight=20))
    assert report.acknowledged == 100
    assert most == 20


def test_a_stop_sends_the_rest_and_waits_for_answers(use: Callable[..., Kafka]) -> None:
    kafka, stop = use(acknowledge), threading.Event()

    sent_before: list[int] = []

    def progress(report: Report) -> None:
        sent_before.append(report.sent)
        stop.set()

    report = drive.run(fast(profile=Profile(rate=10), count=None, batch_messages=1000, batch_seconds=60), None, stop, progress)
    assert sent_before[0] == 0, "the batch was neither full nor old"
    assert report.sent == report.acknowledged > 0
    assert all(producer.closed for producer in kafka.producers)


def test_silence_is_given_up(use: Callable[..., Kafka], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "_DRAIN_WHEN_STOPPED_S", 0.0)
    use(lambda _producer, _future: None)
    report = drive.run(fast(count=6, give_up_s=0.3))
    assert (report.sent, report.acknowledged, report.failed) == (6, 0, 6)


def test_a_kafka_that_is_gone_ends_the_run(use: Callable[..., Kafka], monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = use(lambda _producer, future: future.answer(error=KafkaTimeoutError()))
    monkeypatch.setattr(link, "_BETWEEN_TRIES_S", 0.01)

    def gone_after_the_first(**config: Any) -> FakeProducer:
        if kafka.producers:
            raise KafkaTimeoutError
        return kafka(**config)

    monkeypatch.setattr(link, "KafkaProducer", gone_after_the_first)
    stop = threading.Event()
    report = drive.run(fast(producers=1, count=10_000, give_up_s=0.2), None, stop)
    assert stop.is_set()
    assert (report.acknowledged, report.ok) == (0, False)
    assert report.failed == report.sent < 100


def test_no_kafka_at_the_start_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_config: Any) -> None:
        raise KafkaTimeoutError

    monkeypatch.setattr(link, "KafkaProducer", refuse)
    with pytest.raises(Unreachable, match=r"nowhere:1.*--bootstrap-servers"):
        drive.run(fast())


def test_a_paced_run_sends_what_is_due_by_plan(use: Callable[..., Kafka]) -> None:
    use(acknowledge)
    report = drive.run(fast(profile=Profile(rate=200), count=None, duration_s=0.5))
    assert report.sent == 100


def test_an_observer_that_fails_ends_the_run(use: Callable[..., Kafka]) -> None:
    use(acknowledge)

    def observer(_sent: Sent) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        drive.run(fast(count=None), observer)


def test_observers_are_called_one_at_a_time() -> None:
    inside, overlaps = [], []

    def observer(_sent: Sent) -> None:
        inside.append(1)
        overlaps.append(len(inside))
        inside.pop()

    observe = drive._one_at_a_time(observer)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: observe(Sent("t", 0, n, None, None, "i")), range(2_000)))
    assert set(overlaps) == {1}
    assert len(overlaps) == 2_000


def test_the_report_reads_well_and_as_json(use: Callable[..., Kafka]) -> None:
    use(acknowledge)
    report = drive.run(fast(count=50, profile=Profile(rate=0, bad=0.5)))
    output = io.StringIO()
    print_report(report, Console(file=output, width=120))
    text = output.getvalue()
    assert "acknowledged 50 of 50" in text
    assert "broken_json" in text
    content = json.loads(json.dumps(report.as_json()))
    assert (content["ok"], content["sent"], sum(content["bad"].values())) == (True, 50, sum(report.bad.values()))


def test_a_producer_sends_a_batch_when_it_is_old(use: Callable[..., Kafka]) -> None:
    kafka, tally = use(acknowledge), Tally()
    settings = fast(profile=Profile(rate=20), producers=1, count=6, batch_messages=100, batch_seconds=0.1)
    way = Link("nowhere:1", 100, 1.0, tally, lambda _sent: None)
    way.open(["raytide.features"])
    sizes: list[int] = []
    send = way.send

    def counted(batch: Sequence[Message], stop: threading.Event) -> None:
        sizes.append(len(batch))
        send(batch, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(way, "send", counted)
        Producer(settings, 0, way, threading.Event()).run()
    assert sum(sizes) == len(kafka.producers[0].sent) == 6
    assert len([size for size in sizes if size]) > 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--profile", "sead", "--bootstrap-servers", "x:1", "--no-uploads"], 2, "unknown profile 'sead'"),
        (["--bad", "0.6", "--duplicate", "0.6", "--bootstrap-servers", "x:1", "--no-uploads"], 2, "shares"),
        (["--start", "soon", "--bootstrap-servers", "x:1", "--no-uploads"], 2, "--start"),
        (["--no-uploads"], 3, "raytide stack up"),
        (["--bootstrap-servers", "x:1"], 3, "--no-uploads"),
        (["--bad", "2"], 2, "--bad"),
        (["--file-kinds", "csv,xml", "--bootstrap-servers", "x:1", "--no-uploads"], 2, "jsonl.zst"),
        (["--file-ways", "", "--bootstrap-servers", "x:1", "--no-uploads"], 2, "once,twice,pair,cut"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command.app, arguments)
    assert result.exit_code == code
    assert message in result.output
