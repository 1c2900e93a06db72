"""CPU seconds and peak memory of processes, sampled while something runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

SECONDS = 0.2
#: What a Ray without work uses of one core is below this.
QUIET_SECONDS, QUIET_SHARE = 4.0, 0.3


@dataclass
class Usage:
    """What processes used: CPU seconds since the first look, and the most resident bytes seen, by name.

    Processes of one name are added up for CPU, and the largest one counts for memory. Shared pages count in each.
    """

    cpu: dict[str, float] = field(default_factory=dict)
    peak_rss: dict[str, int] = field(default_factory=dict)

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all."""
        return sum(self.cpu.values())


def family(pid: int) -> list[psutil.Process]:
    """Return a process and everything under it; none when it is gone."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def settle(processes: Callable[[], Iterable[psutil.Process]], seconds: float, share: float = QUIET_SHARE) -> None:
    """Return when `processes()` have used less than `share` of a core for some seconds; raise TimeoutError if they never do."""
    deadline, before = time.monotonic() + seconds, _cpu(processes())
    while True:
        time.sleep(QUIET_SECONDS)  # the time over which it is measured
        now = _cpu(processes())
        if now - before < share * QUIET_SECONDS:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"what was started still works after {seconds:.0f} s")
        before = now


def _cpu(processes: Iterable[psutil.Process]) -> float:
    used = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            used += times.user + times.system
    return used


@contextmanager
def watching(processes: Callable[[], Iterable[psutil.Process]]) -> Iterator[Usage]:
    """Look at `processes()` until the block ends, and at the end once more; the yielded usage is complete then.

    CPU that a process used between the last look and its end is missed, at most `SECONDS` of it.
    """
    usage, sampler, done = Usage(), _Sampler(), threading.Event()

    def sample() -> None:
        while not done.wait(SECONDS):
            sampler.look(processes())

    sampler.look(processes(), first=True)
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        done.set()
        thread.join()
        sampler.look(processes())
        usage.cpu, usage.peak_rss = sampler.cpu(), sampler.peak_rss


class _Sampler:
    """Remembers each process from its first look to its last, also after it is gone."""

    def __init__(self) -> None:
        self.peak_rss: dict[str, int] = {}
        self._names: dict[psutil.Process, str] = {}
        self._start: dict[psutil.Process, float] = {}
        self._now: dict[psutil.Process, float] = {}

    def look(self, processes: Iterable[psutil.Process], *, first: bool = False) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied), process.oneshot():
                times = process.cpu_times()
                self._now[process] = times.user + times.system
                self._start.setdefault(process, self._now[process] if first else 0.0)
                name = self._names[process] = process_name(process)
                self.peak_rss[name] = max(self.peak_rss.get(name, 0), process.memory_info().rss)

    def cpu(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for process, name in self._names.items():
            found[name] = found.get(name, 0.0) + self._now[process] - self._start[process]
        return found


def process_name(process: psutil.Process) -> str:
    """Return what a reader knows a process by: Ray's title of a worker, a script's name, or the program."""
    command = process.cmdline() or [process.name()]
    if command[0].startswith("ray::"):
        return command[0].partition(" ")[0].removeprefix("ray::").partition(".")[0]
    scripts = [part.rpartition("/")[2] for part in command[1:] if part.endswith(".py")]
    return scripts[0] if scripts else process.name()
