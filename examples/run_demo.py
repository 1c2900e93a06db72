"""`make demo`: the whole path on real parts, and a report that proves that nothing was lost, doubled or stale.

It starts a Kafka, a Valkey, a Ray and the app of its own under .raytide/demo, sends events and files, asks for features,
compares every answer with what follows from what it sent (`demo_truth`), runs `raytide verify`, and stops everything.
Ports that are taken are replaced by free ones. Exit 0 only if all agree.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from rich.console import Console

from cluster import config as configuration
from cluster import lifecycle
from cluster.errors import RaytideError
from cluster.running import Running
from cluster.stack import manager as stack
from examples.demo_truth import CLICKS, FEATURES, ONLINE, WINDOWS, Truth
from generator import drive
from generator.profiles import PROFILES, Settings
from generator.tally import Report
from raytide.cli_verify import show
from raytide.client import RaytideClient

PROJECT = Path(__file__).parent / "demo"
FOLDER = Path(".raytide") / "demo"
REPORT = Path(".raytide") / "demo-report.json"
BURST = 20_000
QUESTIONS = 300
CATCH_UP_SECONDS = 120.0

out = Console(highlight=False)


@dataclass
class Findings:
    """What was compared and what was off; becomes the report."""

    checks: list[dict[str, Any]] = field(default_factory=list)

    def compare(self, name: str, pairs: Iterator[tuple[Any, Any, Any]]) -> None:
        """Compare (what, expected, found) one by one."""
        checked, wrong = 0, []
        for what, expected, found in pairs:
            checked += 1
            if expected != found:
                wrong.append(f"{what}: expected {expected}, found {found}")
        self.checks.append({"name": name, "checked": checked, "offenders": len(wrong), "examples": wrong[:5]})
        mark = "[red]no[/red]" if wrong or not checked else "[green]ok[/green]"
        out.print(f"  {mark}  {name}: {checked:,} compared, {len(wrong)} differ")
        for example in wrong[:5]:
            out.print(f"      {example}")

    @property
    def ok(self) -> bool:
        """Return whether everything agreed, and there was something to compare."""
        return all(check["checked"] and not check["offenders"] for check in self.checks)


def main() -> int:
    """Run the demo; return the exit code."""
    for stopping in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stopping, _interrupt)
    began, seconds = time.monotonic(), float(os.environ.get("DEMO_SECONDS", "30"))
    try:
        with _running() as running, RaytideClient(running.gateway) as client:
            ready = time.monotonic() - began
            report = _demonstrate(client, running, seconds)
    except KeyboardInterrupt:
        out.print("stopped before the end; nothing is left running")
        return 130
    except RaytideError as error:
        out.print(f"[red]error:[/red] {error}")
        return 3
    report["seconds"] = {"start": round(ready, 1), "all": round(time.monotonic() - began, 1)}
    REPORT.write_text(json.dumps(report, indent=2, default=str), encoding="utf-8")
    out.print(f"report: {REPORT} · {report['seconds']['all']:.0f} s in all")
    if report["ok"]:
        out.print("[green]Nothing was lost, doubled or stale.[/green]")
        return 0
    out.print("[red]Something does not agree; see above.[/red]")
    return 1


def _demonstrate(client: RaytideClient, running: Running, seconds: float) -> dict[str, Any]:
    truth, findings = Truth(), Findings()
    sent = _send(running, truth, seconds)
    out.rule("Verify, after the streams have caught up")
    proof = client.verify(wait_s=CATCH_UP_SECONDS)
    show(proof)
    out.rule("Answers compared with what was sent")
    findings.compare("Kafka has caught up", (((p["topic"], p["partition"]), 0, p["behind"]) for p in proof["partitions"]))
    findings.compare("history, every streamed event", _history(client, truth))
    findings.compare("quarantine, every bad event", _quarantine(client, truth))
    findings.compare("files, good and bad rows", _files(client, truth))
    findings.compare("online, every entity and feature", _online(client, truth))
    findings.compare(f"online, {CLICKS} now", _clicks(client, truth))
    findings.compare("point in time, as it was then", _as_of(client, truth))
    _show_one(client, truth)
    return {
        "ok": bool(proof["ok"]) and findings.ok,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "sent": [report.as_json() for report in sent],
        "verify": proof,
        "checks": findings.checks,
    }


def _send(running: Running, truth: Truth, seconds: float) -> list[Report]:
    """Send at the seed's pace with files, then a burst; tell `truth` what was acknowledged."""
    brokers = str(stack.status(FOLDER / configuration.STATE_FOLDER).bootstrap_servers)
    pace = replace(PROFILES["seed"], rate=20, orders=0.2, bad=0.01, late=0.05, duplicate=0.02, out_of_order=0.05, null=0.01)
    steady = Settings(
        brokers,
        running.gateway,
        pace,
        duration_s=seconds,
        uploads_every_s=min(10.0, seconds / 3.5),
        batch_messages=5,
        batch_seconds=2.0,
    )
    burst = Settings(brokers, None, replace(pace, rate=0), count=BURST, seed=2)
    out.rule(f"Events for {seconds:.0f} s, a file every {steady.uploads_every_s:.0f} s, then a burst of {BURST:,}")
    reports = []
    for settings in (steady, burst):
        report = drive.run(settings, truth.observe, progress=_progress())
        truth.take(report.uploads)
        reports.append(report)
        out.print(
            f"  acknowledged {report.acknowledged:,} of {report.sent:,} in {report.seconds:.0f} s, "
            f"{sum(report.bad.values())} bad, {report.duplicates} twice, {report.late} late; "
            + ", ".join(f"{u.name} {u.state}" for u in report.uploads),
        )
    return reports


def _history(client: RaytideClient, truth: Truth) -> Iterator[tuple[Any, Any, Any]]:
    table = client.sql(
        "SELECT s.topic, s.partition, f.position, f.feature_name, f.entity_id, f.value "
        "FROM features f JOIN sources s USING (source_id) WHERE s.kind = 'stream'",
    )
    found: dict[tuple[str, int, int], dict[str, tuple[str, float | None]]] = {}
    for topic, partition, position, name, entity, value in zip(*(c.to_pylist() for c in table.columns), strict=True):
        found.setdefault((topic, partition, position), {})[name] = (entity, value)
    for key in truth.streamed.keys() | found.keys():
        yield key, _numbers(truth.streamed.get(key)), _numbers(found.get(key))


def _quarantine(client: RaytideClient, truth: Truth) -> Iterator[tuple[Any, Any, Any]]:
    table = client.sql(
        "SELECT s.topic, s.partition, q.position FROM quarantine q JOIN sources s USING (source_id) WHERE s.kind = 'stream'",
    )
    found = {tuple(row.values()) for row in table.to_pylist()}
    for key in truth.flawed | found:
        yield key, key in truth.flawed, key in found


def _files(client: RaytideClient, truth: Truth) -> Iterator[tuple[Any, Any, Any]]:
    for upload_id, upload in truth.uploaded.items():
        known = client.get_upload(upload_id)
        yield upload.name, ("DONE", upload.good, upload.bad), (str(known.state), known.rows, known.rejected)


def _online(client: RaytideClient, truth: Truth) -> Iterator[tuple[Any, Any, Any]]:
    entities = [*sorted({entity for entity, _ in truth.values}), "nobody_has_this_id"]
    answer = client.get_online_features(list(ONLINE), entities)
    for column, name in enumerate(answer.names):
        for row, entity in enumerate(entities):
            last = truth.newest(entity, name)
            status = "NOT_FOUND" if last is None else "NULL_VALUE" if last.value is None else "PRESENT"
            value = last.value if last else None
            found = float(answer.values[column][row]) if answer.statuses[column][row] == "PRESENT" else None
            yield (entity, name), (status, _number(value)), (answer.statuses[column][row], _number(found))


def _clicks(client: RaytideClient, truth: Truth) -> Iterator[tuple[Any, Any, Any]]:
    """Compare a window with what was sent. It is changed right after the commit, so it may be a moment behind."""
    entities = [*sorted({entity for entity, _ in truth.values}), "nobody_has_this_id"]
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        answer = client.get_online_features([CLICKS], entities)
        at = datetime.fromtimestamp(int(answer.event_timestamps[0][0]) / 1e6, UTC)
        expected = [float(truth.in_a_week(entity, "click", at)) for entity in entities]
        found = [float(value) for value in answer.values[0]]
        if found == expected or time.monotonic() > deadline:
            yield from zip(entities, expected, found, strict=True)
            return
        time.sleep(0.1)  # the cells are kept in another process, and asking is how one learns of them


def _as_of(client: RaytideClient, truth: Truth) -> Iterator[tuple[Any, Any, Any]]:
    questions = truth.questions(QUESTIONS)
    asked = pd.DataFrame(questions, columns=["user_id", "event_timestamp"])
    joined = client.get_historical_features(asked, [*FEATURES, *WINDOWS]).to_pylist()
    for (entity, at), row in zip(questions, joined, strict=True):
        for window, name in WINDOWS.items():
            yield (entity, str(at), window), _number(truth.in_a_week(entity, name, at)), _number(row[window])
        for name in FEATURES:
            yield (entity, str(at), name), _number(truth.as_of(entity, name, at)), _number(row[name])


def _show_one(client: RaytideClient, truth: Truth) -> None:
    entity, _ = next(iter(truth.values))
    answer = client.get_online_features([*ONLINE, CLICKS], [entity])
    shown = {name: value[0] for name, value in answer.to_dict().items() if not name.endswith("__status")}
    out.print(f"  a model asking now would get {shown}")


class Number(float):
    """A value that equals one that differs in the last bits only: two libraries' logarithms do."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isclose(self, other, rel_tol=1e-12)

    def __ne__(self, other: object) -> bool:
        return not self == other  # float brings a `!=` of its own

    __hash__ = None  # type: ignore[assignment] # nearly equal values have no equal hash


def _number(value: float | None) -> Number | None:
    return None if value is None else Number(value)


def _numbers(row: dict[str, tuple[str, float | None]] | None) -> Any:
    return row and {name: (entity, _number(value)) for name, (entity, value) in row.items()}


def _progress() -> Callable[[Report], None]:
    shown = {"at": 0.0}

    def show_progress(report: Report) -> None:
        if report.seconds - shown["at"] >= 5:  # noqa: PLR2004 - seconds between lines
            shown["at"] = report.seconds
            out.print(f"  {report.seconds:4.0f} s  {report.acknowledged:,} acknowledged, {len(report.uploads)} files")

    return show_progress


@contextmanager
def _running() -> Iterator[Running]:
    """Give a fresh app of our own, and stop it whatever happens."""
    _stop()  # what a demo that was killed left behind
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    out.rule("Starting a real Kafka, Valkey, Ray and the app")
    try:
        running = lifecycle.up(configuration.load(PROJECT), PROJECT, FOLDER, lambda what: out.print(f"  {what}"))
        out.print(f"  gRPC {running.gateway} · Ray dashboard {running.dashboard}")
        yield running
    finally:
        out.rule("Stopping")
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        _stop()


def _stop() -> None:
    lifecycle.down(FOLDER, 20.0, lambda what: out.print(f"  {what}"))
    stack.down(FOLDER / configuration.STATE_FOLDER)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
