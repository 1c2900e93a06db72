"""Plays cells: a round is traffic, a fault, recovery, the end of traffic, and a judgement of everything that came."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

from cluster.errors import RaytideError
from tests.fault import recovery
from tests.fault.cells import CELLS, Cell
from tests.fault.judge import SHOWN, Judge, Problems
from tests.fault.mutants import Mutant, copy_code
from tests.fault.nodes import TwoNodes
from tests.fault.traffic import Traffic
from tests.fault.truth import Truth
from tests.fault.world import ROOT, SOON_IN_ORDER, World, eventually

#: Cells in one world. After them it is stopped and another one made: a history of millions makes each judgement slower.
CELLS_IN_A_WORLD = 12
WARM_UP_SEED = 0

Say = Callable[[str], None]


def on_a_copy(folder: Path, source: Path) -> World:
    """Return a world whose code a fault may change."""
    return World(folder, copy_code(source, folder.with_name("code")))


WORLDS: Mapping[str, Callable[[Path, Path], World]] = {
    "one": World,
    "three-brokers": partial(World, brokers=3),
    "two-nodes": TwoNodes,
    "own-code": on_a_copy,
    "in-order": partial(World, settings=SOON_IN_ORDER),
}


@dataclass
class RoundResult:
    """What one round found. `recovery_s` is None when the fault was not survived."""

    cell: str
    seed: int
    recovery_s: float | None = None
    events: int = 0
    files: int = 0
    seconds: float = 0.0
    problems: Problems = field(default_factory=dict)
    error: str = ""  # why the round could not be finished: then nothing was shown
    is_last: bool = False  # of its cell

    @property
    def ok(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.error and not any(self.problems.values())

    def as_json(self) -> dict[str, Any]:
        """Return plain data, with the first problems of each column."""
        return {**asdict(self), "problems": {column: texts[:SHOWN] for column, texts in self.problems.items() if texts}}


@dataclass
class Stage:
    """A running world with its truth and judge."""

    world: World
    truth: Truth
    judge: Judge


@contextmanager
def stage(kind: str, source: Path = ROOT) -> Iterator[Stage]:
    """Start a world of a kind, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="raytide-fault-") as folder:
        world = WORLDS[kind](Path(folder) / "world", source)
        with world.running():
            recovery.healthy(world)
            truth = Truth()
            yield Stage(world, truth, Judge(world, truth))


def warm_up(ready: Stage) -> None:
    """Send until a file is DONE, so that seconds are those of an app that works; the first round is judged with all of it."""
    with Traffic(ready.world, ready.truth, WARM_UP_SEED) as traffic:
        eventually(lambda: traffic.files, "a first file is DONE")
        traffic.finish()
    recovery.warm(ready.world)


class Left:
    """The cells that nobody plays yet. Those of rare worlds come first, so that at the end there is something for everybody."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        count = Counter(cell.world for cell in cells)
        self._cells, self._lock = sorted(cells, key=lambda cell: count[cell.world]), threading.Lock()

    def take(self, world: str | None = None) -> Cell | None:
        """Return the next cell, of that kind of world if one is named; None when there is no more."""
        with self._lock:
            found = next((cell for cell in self._cells if world in {None, cell.world}), None)
            if found is not None:
                self._cells.remove(found)
            return found

    def in_a_world_with(self, first: Cell) -> Iterator[Cell]:
        """Return a cell that was taken, and more of its kind of world, taken when asked for: as many as one world plays."""
        yield first
        for _ in range(CELLS_IN_A_WORLD - 1):
            if (cell := self.take(first.world)) is None:
                return
            yield cell


def play_all(cells: Sequence[Cell], rounds: Callable[[Cell], int], seed: int, say: Say) -> Iterator[RoundResult]:
    """Play every cell and yield each round's result, in the order in which rounds end.

    A kill with an aim has the machine for itself. Of the other cells some are played at once, in as many worlds.
    """

    def one_world_after_another(left: Left) -> Iterator[RoundResult]:
        while first := left.take():
            cell = first
            try:
                with stage(first.world) as ready:
                    warm_up(ready)
                    for cell in left.in_a_world_with(first):
                        yield from play(ready, cell, rounds(cell), seed, say)
            except Exception as error:  # noqa: BLE001 - the other cells go on, and what was not played is an error
                say(f"{cell.name}: the world ended: {type(error).__name__}: {error}")
                yield RoundResult(cell.name, seed, error=f"its world ended: {type(error).__name__}: {error}", is_last=True)

    for at_once in sorted({cell.at_once for cell in cells}):
        left = Left([cell for cell in cells if cell.at_once == at_once])
        yield from _at_once([one_world_after_another(left) for _ in range(at_once)])


def _at_once(lanes: Sequence[Iterator[RoundResult]]) -> Iterator[RoundResult]:
    """Yield what the iterators yield, each of which has a thread; whoever stops asking stops them after their round."""
    results: Queue[RoundResult | None] = Queue()
    stopped = threading.Event()

    def play_one(lane: Iterator[RoundResult]) -> None:
        try:
            for result in lane:
                results.put(result)
                if stopped.is_set():
                    return
        finally:
            results.put(None)

    with ThreadPoolExecutor(len(lanes)) as pool:
        playing = [pool.submit(play_one, lane) for lane in lanes]
        try:
            for _ in playing:
                yield from iter(results.get, None)
            for lane in playing:
                lane.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def play(ready: Stage, cell: Cell, rounds: int, seed: int, say: Say) -> Iterator[RoundResult]:
    """Play one cell; `verify` looks at everything after its last round."""
    for number in range(rounds):
        result = play_round(ready, cell, seed + number)
        result.is_last = number == rounds - 1
        if result.is_last and result.ok:
            _verify(ready, result)
        say(_line(result, number + 1, rounds))
        yield result


def _verify(ready: Stage, result: RoundResult) -> None:
    try:
        result.problems["verify"] = ready.judge.verify()
    except RaytideError as error:
        result.error = f"verify: {error}"


def play_round(ready: Stage, cell: Cell, seed: int) -> RoundResult:
    """Play one round. A fault whose world cannot be judged afterwards has shown nothing: that is an error of the round."""
    rng, began, before = random.Random(f"{cell.name}/{seed}"), time.monotonic(), ready.truth.acknowledged
    result, files = RoundResult(cell.name, seed), len(ready.truth.uploads)
    try:
        with Traffic(ready.world, ready.truth, seed) as traffic:
            result.recovery_s = cell.fault(ready.world, rng, traffic)
            traffic.finish()
        recovery.healthy(ready.world)
        result.problems = ready.judge.round()
    except Exception as error:  # noqa: BLE001 - one round must not end the matrix
        result.error = f"{type(error).__name__}: {error}"
    result.events, result.files = ready.truth.acknowledged - before, len(ready.truth.uploads) - files
    result.seconds = round(time.monotonic() - began, 1)
    return result


def play_mutant(mutant: Mutant, seed: int, say: Say) -> str:
    """Play a round of the mutant's cell on the broken code; return what was seen, empty when it was not what is broken."""
    cell = next(cell for cell in CELLS if cell.name == mutant.cell)
    with (
        tempfile.TemporaryDirectory(prefix="raytide-mutant-") as folder,
        stage(cell.world, mutant.write(Path(folder))) as broken,
    ):
        result = play_round(broken, cell, seed)
    wrong = result.error or ", ".join(column for column, texts in result.problems.items() if texts)
    seen = wrong if mutant.sign in wrong else ""
    say(f"mutant {mutant.name}, {mutant.what}: {f'seen: {seen}' if seen else f'NOT SEEN {wrong}'}")
    return seen


def _line(result: RoundResult, number: int, rounds: int) -> str:
    took = "-" if result.recovery_s is None else f"{result.recovery_s:.1f} s"
    wrong = (
        "; ".join(f"{column}: {texts[0]} ({len(texts)})" for column, texts in result.problems.items() if texts) or result.error
    )
    counts = f"{result.events} events, {result.files} files, first commit after {took}, {result.seconds} s in all"
    return f"{result.cell} {number}/{rounds} seed {result.seed}: {'ok' if result.ok else 'RED'}, {counts} {wrong}".rstrip()
