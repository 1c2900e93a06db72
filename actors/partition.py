"""One Kafka partition, one process: gives `cluster.ingest.stream` its clients, and builds it anew when it fails.

A start is always the same: take a new epoch, learn the stored offset, read from there. So a crash, a restart by Ray and
an error that only a fresh start mends need no code of their own.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import structlog

from actors.clients import SlotClient, WriterClient
from actors.definitions import InForce
from actors.ending import FINISH_SECONDS, on_sigterm
from actors.handles import node_id, partition_name
from actors.metrics import RayMetrics
from cluster.app import App
from cluster.errors import Fenced, Gap, Misconfigured, Refused, RetryLater
from cluster.ingest.leases import Claim, Kind
from cluster.ingest.pipeline import SourcePlan
from cluster.ingest.stream import Ports, Progress, State, StreamLoop
from cluster.records import Origin
from cluster.registry.definitions import StreamSource
from cluster.stores.kafka import KafkaPartition
from cluster.stores.kafka_dead_letters import open_dead_letters
from cluster.stores.redis import RedisOnlineStore
from cluster.telemetry import set_up_logs

REBUILD_SECONDS = 1.0


class Partition:
    """Runs from construction until `drain`; all calls answer at once."""

    def __init__(self, app: App, source: StreamSource, partition: int) -> None:
        set_up_logs(app.config.telemetry, topic=source.topic, partition=partition)
        self._metrics = RayMetrics()
        self._app, self._topic, self._partition = app, source.topic, partition
        self._definitions = InForce(app)
        self._name = partition_name(source.topic, partition)
        self._log = structlog.get_logger()
        self._node = node_id()
        self._stop = threading.Event()
        self._loop: StreamLoop | None = None
        self._outcome = Progress()
        self._allowed_rejects = 0
        self._start()
        on_sigterm(lambda: self.drain(FINISH_SECONDS))

    def __repr__(self) -> str:
        return self._name

    def status(self) -> Progress:
        """Return what this partition is doing."""
        loop = self._loop
        return replace(loop.progress if loop is not None else self._outcome, node=self._node)

    def resume(self, allowed_rejects: int) -> None:
        """Go on after a halt, from the ledger's offset; until the next halt so many rejects do not count towards it.

        Raise Refused when it is not HALTED.
        """
        if (state := self.status().state) is not State.HALTED:
            raise Refused(f"{self._name} is {state}: only a HALTED partition has something to resume")
        self._allowed_rejects = allowed_rejects
        self._outcome = Progress()
        self._start()

    def switch(self) -> None:
        """Use the definitions in force from the next batch on."""
        plan, loop = self._plan(), self._loop
        if loop is not None:
            loop.switch(plan)

    def drain(self, seconds: float) -> Progress:
        """Stop reading, finish what is in flight, and say how far that got after at most `seconds`."""
        self._stop.set()
        self._thread.join(seconds)
        return self.status()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._live, name=self._name, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.is_set():
            try:
                self._run_once()
            except (RetryLater, Gap) as error:
                self._end(State.WAITING, str(error))
                self._stop.wait(REBUILD_SECONDS)
            except Fenced as error:
                self._end(State.FENCED, str(error))
                return
            except (Refused, Misconfigured) as error:
                self._end(State.HALTED, str(error))
                return
            except Exception as error:  # noqa: BLE001 - a partition that died in silence would be worse
                self._log.exception("partition_failed")
                self._end(State.WAITING, f"unexpected {type(error).__name__}: {error}; building the partition anew")
                self._stop.wait(REBUILD_SECONDS)

    def _run_once(self) -> None:
        config, plan = self._app.config, self._plan()
        source = KafkaPartition(config.kafka, self._app.bootstrap, self._topic, self._partition, config.ingest)
        online = RedisOnlineStore(self._app.redis_url, config.online_store, self._metrics)
        dead_letters = open_dead_letters(config.kafka, self._app.bootstrap, self._topic)
        slot = SlotClient(Claim(self._name, Kind.STREAM, self._name))
        try:
            self._loop = StreamLoop(
                Origin.stream(self._topic, self._partition, plan.registry_version),
                plan,
                Ports(source, online, WriterClient(), slot, dead_letters, self._metrics),
                config.ingest,
                allowed_rejects=self._allowed_rejects,
            )
            self._loop.run(self._stop)
        finally:
            source.close()
            online.close()
            dead_letters.close()

    def _plan(self) -> SourcePlan:
        """Compile the definitions in force; raise RetryLater while the writer is away, Refused when the topic is in none."""
        catalog = self._definitions.look()
        source = next((source for source in catalog.stream_sources if source.topic == self._topic), None)
        if source is None:
            raise Refused(f"no source of registry version {catalog.version} reads {self._topic}: nothing more is read from it")
        return SourcePlan.compile(catalog, source.name, self._app.config.ingest)

    def _end(self, state: State, note: str) -> None:
        last = self._loop.progress if self._loop else Progress()
        self._log.warning("partition_ended", state=str(state), note=note)
        self._outcome, self._loop = replace(last, state=state, note=note, in_flight=0), None
