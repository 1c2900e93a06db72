"""The rows of the matrix: what dies or misbehaves, how often it is tried, and in which world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from cluster.faults import Point
from tests.fault import kills, nodes, outages, poison, zombies
from tests.fault.kills import Fault
from tests.fault.outages import Outage

ACTOR_ROUNDS, SLOW_ROUNDS, EXTRA_ROUNDS = 20, 5, 1


@dataclass(frozen=True)
class Cell:
    """One row. `aim_s` is how soon the first commit after it should come; None where nothing is promised.

    `at_once` is how many worlds may go on at once: one where the seconds are promised and need the machine, else two.
    """

    name: str
    what: str
    fault: Fault
    rounds: int = ACTOR_ROUNDS
    aim_s: float | None = None
    world: str = "one"
    at_once: int = 2


def _kill(victim: str, name: str, aim_s: float | None = None) -> Cell:
    what = f"{victim}: SIGKILL at a random moment"
    return Cell(f"kill:{victim}", what, kills.actor(name), aim_s=aim_s, at_once=_alone_if(aim_s))


def _point(point: Point, what: str, aim_s: float | None = None, world: str = "one") -> Cell:
    return Cell(f"at:{point}", what, kills.at_point(point), aim_s=aim_s, world=world, at_once=_alone_if(aim_s))


def _alone_if(aim_s: float | None) -> int:
    return 2 if aim_s is None else 1


def _outage(name: str, what: str, outage: Outage, seconds: float, aim_s: float | None = None) -> Cell:
    return Cell(name, what, outages.lasting(outage, seconds), SLOW_ROUNDS, aim_s)


PARTITION_S, WRITER_S, REDIS_S, NODE_S = 3.0, 5.0, 2.0, 10.0

CELLS: tuple[Cell, ...] = (
    _kill("partition", "partition:", PARTITION_S),
    _kill("writer", "writer", WRITER_S),
    _kill("supervisor", "supervisor"),
    _kill("limiter", "limiter"),
    _kill("gateway", "gateway:"),
    Cell("kill:upload-task", "upload task: SIGKILL at a random moment", kills.upload_task),
    _point(Point.POLLED, "partition: after the poll", PARTITION_S),
    _point(Point.TRANSFORMED, "partition: after the transform", PARTITION_S),
    _point(Point.ONLINE, "partition: after Redis, before the writer has it", PARTITION_S),
    _point(Point.EPOCH_TAKEN, "writer: after a new epoch, before its answer", WRITER_S),
    _point(Point.IN_TRANSACTION, "writer: inside the transaction", WRITER_S),
    _point(Point.COMMITTED, "writer: after the commit, before the answer", WRITER_S),
    _point(Point.ANSWERED, "partition: after the answer, before Kafka's commit", PARTITION_S),
    _point(Point.RECEIVING, "gateway: while a file is received"),
    _point(Point.SPOOLED, "gateway: after a file is spooled"),
    _point(Point.PIECE_COMPUTED, "upload task: a piece is computed, not appended"),
    _point(Point.PIECE_APPENDED, "upload task: between two pieces"),
    _point(Point.BEFORE_FILE_COMMIT, "gateway: before a file's commit"),
    _point(Point.FILE_IN_TRANSACTION, "writer: inside a file's transaction", WRITER_S),
    _point(Point.FILE_COMMITTED, "writer: after a file's commit, before the answer", WRITER_S),
    _point(Point.BEFORE_PUBLISHING, "gateway: after a file's commit, before Redis"),
    _point(Point.PUBLISHING, "gateway: while finishing Redis, before DONE"),
    _point(Point.DONE, "gateway: after DONE, before the client is told"),
    _point(Point.CLUSTERING_IN_TRANSACTION, "writer: while it puts history in order", WRITER_S, "in-order"),
    _point(Point.CLUSTERING_COMMITTED, "writer: after it has put history in order", WRITER_S, "in-order"),
    _point(Point.WINDOWS_COMPUTED, "supervisor: what windows have to learn is known, no cell changed"),
    _point(Point.WINDOWS_PUT, "supervisor: after the cells of windows, before the mark"),
    Cell("zombie:fenced", "partition frozen, its epoch taken, resumed", zombies.partition_fenced, SLOW_ROUNDS),
    Cell("zombie:overtaken", "partition frozen, overtaken, resumed", zombies.partition_overtaken, SLOW_ROUNDS),
    Cell("frozen:partition", "partition frozen until it is replaced", zombies.replaced_while_frozen("partition:"), SLOW_ROUNDS),
    Cell("frozen:writer", "writer frozen until it is replaced", zombies.replaced_while_frozen("writer"), SLOW_ROUNDS),
    Cell("node:lost", "a Ray node lost (raylet SIGKILL)", nodes.node_lost, SLOW_ROUNDS, NODE_S, "two-nodes", at_once=1),
    Cell("poison:burst", "3,000 bad records in a row: HALTED, then resumed", poison.burst, EXTRA_ROUNDS),
    Cell("ray:raylet", "Ray's raylet killed, with the node", outages.ray_process("raylet/raylet"), EXTRA_ROUNDS),
    Cell("ray:gcs", "Ray's control store killed", outages.ray_process("gcs_server"), EXTRA_ROUNDS),
    Cell("ray:keeper", "the keeper killed; replaced, and Ray's control store killed", outages.keeper_then_ray, EXTRA_ROUNDS),
    Cell("app:killed", "every process of the app killed, started again", outages.app_killed, SLOW_ROUNDS),
    Cell(
        "app:upgraded", "another code under the running app, `raytide up`", outages.app_upgraded, EXTRA_ROUNDS, world="own-code"
    ),
    _outage("redis:killed", "Redis killed for 4 s, back empty", outages.redis_killed, 4, REDIS_S),
    _outage("redis:emptied", "Redis emptied while it runs", outages.redis_emptied, 0),
    _outage("redis:frozen", "Redis frozen for 10 s", outages.redis_frozen, 10, REDIS_S),
    _outage("redis:full", "Redis out of memory for 6 s", outages.redis_full, 6, REDIS_S),
    _outage("redis:slow", "Redis at a fifth of its speed for 6 s", outages.redis_slow, 6),
    _outage("kafka:killed", "the only broker killed and started again", outages.broker_away, 0),
    _outage("kafka:away", "Kafka away for 30 s", outages.broker_away, 30),
    Cell(
        "kafka:leader", "three brokers, the leader killed for good", outages.leader_killed, SLOW_ROUNDS, world="three-brokers"
    ),
    _outage("disk:history", "disk full under the DuckDB file for 4 s", outages.disk_full_under_history, 4),
    _outage("disk:spool", "disk full under the spool for 4 s", outages.disk_full_under_spool, 4),
    _outage("clock:back", "the clock set back by an hour for 4 s", outages.clock_back, 4),
)


def chosen(patterns: Sequence[str]) -> list[Cell]:
    """Return the cells whose names match any of the patterns; all without a pattern."""
    return [cell for cell in CELLS if not patterns or any(fnmatch(cell.name, pattern) for pattern in patterns)]
