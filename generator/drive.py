"""The threads: producers that keep their pace, and `run`, which waits for them and for the one that uploads files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from itertools import islice, takewhile

from generator.batcher import Batcher
from generator.events import Message, messages
from generator.link import Link, Observer
from generator.profiles import FEATURES_TOPIC, ORDERS_TOPIC, Settings
from generator.tally import Report, Sent, Tally

Progress = Callable[[Report], None]

_LOOK_EVERY_S = 0.5
#: Messages that are due within one go together: to wake up for each would cost more than to send it.
_TICK_S = 0.01
_DRAIN_WHEN_STOPPED_S = 10.0


def run(
    settings: Settings,
    observer: Callable[[Sent], None] | None = None,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> Report:
    """Send until the count, the duration or `stop` says so; then flush, wait for the answers, and report.

    `observer` hears of each acknowledged message, one at a time, from the producers' threads, in the order of sending
    within each producer. `progress` is called about twice a second from the calling thread. `stop` is set when the run
    ends early by itself. Raise Unreachable when Kafka does not answer at the start.
    """
    stop, tally, finished = stop or threading.Event(), Tally(), threading.Event()
    producers = _open_producers(settings, tally, _one_at_a_time(observer), stop)
    with ThreadPoolExecutor(len(producers) + 1, thread_name_prefix="generator") as pool:
        running = [pool.submit(producer.run) for producer in producers]
        uploading = [pool.submit(_uploads, settings, tally, finished)] if settings.gateway else []
        try:
            _watch(running, tally, stop, progress)
        finally:
            finished.set()
    for future in (*running, *uploading):
        future.result()
    return tally.report()


def _open_producers(settings: Settings, tally: Tally, observe: Observer, stop: threading.Event) -> list[Producer]:
    topics = [FEATURES_TOPIC] * (settings.profile.orders < 1) + [ORDERS_TOPIC] * (settings.profile.orders > 0)
    links = [
        Link(settings.bootstrap_servers, settings.in_flight, settings.give_up_s, tally, observe)
        for _ in range(settings.producers)
    ]
    try:
        with ThreadPoolExecutor(len(links)) as pool:  # most of it is waiting for Kafka's answers
            list(pool.map(lambda link: link.open(topics), links))
    except BaseException:
        for link in links:
            link.close()
        raise
    return [Producer(settings, number, link, stop) for number, link in enumerate(links)]


def _one_at_a_time(observer: Callable[[Sent], None] | None) -> Observer:
    if observer is None:
        return lambda _sent: None
    lock = threading.Lock()

    def observe(sent: Sent) -> None:
        with lock:
            observer(sent)

    return observe


def _watch(running: list[Future[None]], tally: Tally, stop: threading.Event, progress: Progress | None) -> None:
    waiting = set(running)
    try:
        while waiting:
            done, waiting = wait(waiting, timeout=_LOOK_EVERY_S, return_when=FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                stop.set()
            if progress:
                progress(tally.report())
    except BaseException:  # such as Ctrl-C in the calling thread: the producers must not go on behind its back
        stop.set()
        raise


class Producer:
    """One producer thread: waits for each message's turn, groups, sends, and accounts for the answers."""

    def __init__(self, settings: Settings, number: int, link: Link, stop: threading.Event) -> None:
        self._settings, self._number, self.link, self._stop = settings, number, link, stop
        self._batcher = Batcher(settings.batch_messages, settings.batch_seconds)
        self._began = 0.0

    def run(self) -> None:
        """Send everything of this producer, or what is due until it is stopped."""
        self._began = time.monotonic()
        try:
            for message in self._messages():
                if not self._wait_for(message.due_s if self._settings.profile.rate else 0.0):
                    break
                self._batcher.add(message, self._elapsed())
                self._send_due()
            self.link.send(self._batcher.take_all(), self._stop)
            self.link.drain(_DRAIN_WHEN_STOPPED_S if self._stop.is_set() else self._settings.give_up_s + _DRAIN_WHEN_STOPPED_S)
        finally:
            self.link.close()

    def _messages(self) -> Iterator[Message]:
        settings, endless = self._settings, messages(self._settings, self._number)
        if settings.count is not None:
            share, rest = divmod(settings.count, settings.producers)
            endless = islice(endless, share + (self._number < rest))
        duration = settings.duration_s
        if duration is None:
            return endless
        if settings.profile.rate:  # by plan, not by clock, so that the same messages are sent each time
            return takewhile(lambda message: message.due_s < duration, endless)
        return takewhile(lambda _message: self._elapsed() < duration, endless)

    def _wait_for(self, due: float) -> bool:
        """Wait until `due`, sending batches whose time comes meanwhile; False when the run is stopped."""
        while (now := self._elapsed()) < due and not self._stop.is_set():
            self._stop.wait(max(_TICK_S, min(due, self._batcher.deadline, now + _LOOK_EVERY_S) - now))
            self._send_due()
        return not self._stop.is_set()

    def _send_due(self) -> None:
        batch = self._batcher.take(self._elapsed())
        if batch:
            self.link.send(batch, self._stop)
        self.link.reap()

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def _uploads(settings: Settings, tally: Tally, finished: threading.Event) -> None:
    from generator.uploads import upload  # noqa: PLC0415 - a run without uploads needs no gRPC

    upload(settings, tally, finished)
