"""Metrics: each is declared once, used, documented and shown; and what the parts make of them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from cluster.ingest.batch import rejects_table
from cluster.ingest.leases import Kind
from cluster.ingest.stream import Progress, State
from cluster.monitoring import gauges
from cluster.monitoring import metrics as m
from cluster.monitoring.lag import Lag
from cluster.monitoring.memory import MemoryMetrics
from cluster.monitoring.provision import provision
from cluster.monitoring.streams import SAMPLE, StreamMeter
from cluster.records import REJECTS_SCHEMA, ROWS_SCHEMA, Batch, Origin, Reason, Rejected
from cluster.status import LimiterReport, OnlineReport, OnlineState, PartitionReport, SlotReport
from cluster.stores.duckdb_status import WriterStatus

ROOT = Path(__file__).parents[2]
#: Every label that there may be: each comes from a closed set, or is a topic, a partition or a source.
LABELS = {"topic", "partition", "state", "reason", "source", "part", "status", "outcome", "kind", "use", "actor"}
DASHBOARD: dict[str, Any] = json.loads((ROOT / "cluster/monitoring/grafana/raytide.json").read_text(encoding="utf-8"))
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "cluster/monitoring/alerts.yml").read_text(encoding="utf-8"))
SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
ALERTING = [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
CODE = {p: p.read_text(encoding="utf-8") for folder in ("cluster", "actors") for p in sorted((ROOT / folder).rglob("*.py"))}
PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
METRIC = pytest.mark.parametrize("metric", m.ALL, ids=lambda metric: metric.name)

T = 1_700_000_000_000_000


def names_in(expression: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"ray_raytide_\w+", expression)}


@METRIC
def test_a_metric_has_a_name_that_ray_takes_and_labels_of_low_cardinality(metric: m.Metric) -> None:
    assert re.fullmatch(r"raytide_[a-z_]+[a-z]", metric.name), "Ray drops others without an error"
    assert set(metric.labels) <= LABELS
    assert metric.meaning.endswith(".")
    if isinstance(metric, m.Histogram):
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert metric.bounds[0] > 0


def test_names_are_unique() -> None:
    assert len({metric.name for metric in m.ALL}) == len(m.ALL) > 0


@METRIC
def test_a_metric_is_in_the_page_and_on_the_dashboard(metric: m.Counter | m.Gauge | m.Histogram) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert f"| `{metric.exported}` | {labels} | {metric.meaning} |" in PAGE
    assert any(metric.exported in names_in(expression) for expression in SHOWN)


@METRIC
def test_a_metric_is_measured_somewhere(metric: m.Metric) -> None:
    (constant,) = [name for name, value in vars(m).items() if value is metric]
    users = [path for path, text in CODE.items() if re.search(rf"\b{constant}\b", text)]
    assert any(path.name != "metrics.py" for path in users)


def test_ray_s_metrics_are_made_in_one_file_only() -> None:
    theirs = [path for path, text in CODE.items() if re.search(r"ray\.util.*metrics", text)]
    assert theirs == [ROOT / "actors/metrics.py"]


def test_no_metric_is_named_by_a_text() -> None:
    calls = [(p, node) for p, text in CODE.items() for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    measured = [(p, c) for p, c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "observe"]
    assert measured
    assert not [f"{path}:{call.lineno}" for path, call in measured if isinstance(call.args[0], ast.Constant)]


@pytest.mark.parametrize("expression", [*SHOWN, *ALERTING])
def test_what_is_shown_and_watched_is_declared_with_these_labels(expression: str) -> None:
    declared = {metric.exported: metric for metric in m.ALL}
    found = names_in(expression)
    assert found
    assert found <= set(declared)
    named = [label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.replace(" ", "").split(",")]
    matched = re.findall(r"(\w+)=~?\"", expression)
    known = {label for name in found for label in declared[name].labels} | {"le"}
    assert {*named, *matched} - {""} <= known


def test_every_alert_says_what_to_do() -> None:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "description"}
            assert f"| `{rule['alert']}` |" in PAGE


def test_the_twin_refuses_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"raytide_events has the labels \('topic', 'partition'\)"):
        MemoryMetrics().add(m.EVENTS, 1, "orders")


def rows(*times: int) -> pa.Table:
    count = len(times)
    columns = [
        pa.array(["u"] * count),
        pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int16()), ["f"]),
        pa.array([1.0] * count),
        pa.array(times, pa.timestamp("us")),
        pa.array(times, pa.timestamp("us")),
        pa.array(range(count), pa.int64()),
    ]
    return pa.table(columns, schema=ROWS_SCHEMA)


def test_a_batch_is_measured_once_whatever_its_size() -> None:
    metrics = MemoryMetrics()
    meter = StreamMeter(metrics, "orders", 3)
    rejected = [Rejected(p, Reason.BAD_TIME if p else Reason.TOMBSTONE, "", None) for p in range(3)]
    meter.durable(Batch(Origin.stream("orders", 3, 1), 1, 0, 13, 10, rows(*[T] * 10), rejects_table(rejected)))
    assert metrics.counted == {
        ("raytide_events", "orders", "3"): 10,
        ("raytide_rows", "orders"): 10,
        ("raytide_rejects", "orders", "tombstone"): 1,
        ("raytide_rejects", "orders", "bad_time"): 2,
    }
    assert metrics.observed == {("raytide_batch_records", "orders"): [13.0]}


def test_freshness_is_measured_for_a_few_events_from_the_first_to_the_last() -> None:
    metrics = MemoryMetrics()
    StreamMeter(metrics, "orders", 0).readable(rows(*(T - i * 1_000_000 for i in range(1000))), T)
    (seconds,) = metrics.observed.values()
    assert len(seconds) == SAMPLE
    assert (seconds[0], seconds[-1]) == (0.0, 999.0)


def test_an_event_from_the_future_is_fresh() -> None:
    metrics = MemoryMetrics()
    StreamMeter(metrics, "orders", 0).readable(rows(T + 5_000_000), T)
    assert metrics.observed == {("raytide_freshness_seconds", "orders"): [0.0]}


def test_no_rejects_are_no_series() -> None:
    metrics = MemoryMetrics()
    batch = Batch(Origin.stream("orders", 0, 1), 1, 0, 0, 0, rows(), REJECTS_SCHEMA.empty_table())
    StreamMeter(metrics, "orders", 0).durable(batch)
    assert not metrics.counted


KEY = ("orders", 0)


@pytest.mark.parametrize(
    ("progress", "end", "seconds"),
    [
        (Progress(committed=10, record_time=T - 90_000_000), 10, 0.0),
        (Progress(committed=5, record_time=T - 90_000_000), 10, 90.0),
        (Progress(committed=5, record_time=T + 1), 10, 0.0),  # a producer's clock is ahead
        (Progress(committed=5), 10, None),  # nobody knows yet
        (Progress(committed=5, record_time=T - 90_000_000), None, 90.0),  # Kafka did not say where it ends
    ],
)
def test_seconds_behind(progress: Progress, end: int | None, seconds: float | None) -> None:
    assert Lag().seconds(KEY, progress, end, T) == seconds


def test_the_first_record_after_a_quiet_hour_is_not_an_hour_late() -> None:
    lag, progress = Lag(), Progress(committed=10, record_time=T - 3_600_000_000)
    lag.look({KEY: progress}, {KEY: 10}, T - 2_000_000)
    assert lag.seconds(KEY, progress, 11, T) == 2.0
    lag.look({KEY: progress}, {KEY: 11}, T)
    assert lag.seconds(KEY, progress, 11, T) == 2.0, "it has not caught up since"


def test_gauges_of_partitions() -> None:
    metrics = MemoryMetrics()
    halted = PartitionReport("orders", 1, str(State.HALTED), next_offset=5, end_offset=25, lag_seconds=30.0, in_flight=0)
    gauges.of_partitions(metrics, [PartitionReport("orders", 0, str(State.RUNNING), in_flight=2), halted])
    assert metrics.gauges[m.HALTED.name, "orders", "0"] == 0
    assert metrics.gauges[m.HALTED.name, "orders", "1"] == 1
    assert metrics.gauges[m.LAG_RECORDS.name, "orders", "1"] == 20
    assert metrics.gauges[m.LAG_SECONDS.name, "orders", "1"] == 30
    assert metrics.gauges[m.IN_FLIGHT.name, "orders", "0"] == 2
    assert (m.LAG_RECORDS.name, "orders", "0") not in metrics.gauges, "an unknown lag is not 0"
    states = {key[2]: value for key, value in metrics.gauges.items() if key[0] == m.PARTITIONS.name}
    assert states == {str(state): float(state in (State.RUNNING, State.HALTED)) for state in State}


def test_gauges_of_the_writer_and_of_files() -> None:
    metrics = MemoryMetrics()
    status = WriterStatus(True, (), 1, 0, 1, 1, 2.0, 3, 400, 5000, 60, 7, {"DONE": 2, "PROCESSING": 1}, T - 9_000_000)
    gauges.of_writer(metrics, status)
    gauges.of_uploads(metrics, status, T)
    assert metrics.gauges[m.WRITER_UP.name,] == 1
    assert metrics.gauges[m.QUEUED_BATCHES.name,] == 3
    assert metrics.gauges[m.QUEUED_BYTES.name,] == 400
    assert metrics.gauges[m.HISTORY_BYTES.name, "file"] == 5000
    assert metrics.gauges[m.HISTORY_BYTES.name, "wal"] == 60
    assert metrics.gauges[m.DISK_FREE.name,] == 7
    assert metrics.gauges[m.UPLOADS.name, "PROCESSING"] == 1
    assert metrics.gauges[m.UPLOADS.name, "FAILED"] == 0, "a state that nothing is in any more goes back to 0"
    assert metrics.gauges[m.OLDEST_UPLOAD.name,] == 9
    gauges.of_writer(metrics, None)
    assert metrics.gauges[m.WRITER_UP.name,] == 0


def test_gauges_of_the_limiter() -> None:
    metrics = MemoryMetrics()
    stream, upload = SlotReport("a", str(Kind.STREAM), "p"), SlotReport("b", str(Kind.UPLOAD), "u")
    gauges.of_limiter(metrics, LimiterReport(4, 1, 2, (stream, upload), (upload,)))
    taken = {key[1]: value for key, value in metrics.gauges.items() if key[0] == m.SLOTS.name}
    assert taken == {"stream": 1, "upload": 1, "replay": 0, "backfill": 0, "free": 2}
    assert metrics.gauges[m.SLOTS_WAITING.name, "upload"] == 1


@pytest.mark.parametrize(("state", "value"), [(OnlineState.OK, 1), (OnlineState.REBUILDING, 0), (OnlineState.AWAY, 0)])
def test_gauge_of_the_online_store(state: OnlineState, value: int) -> None:
    metrics = MemoryMetrics()
    gauges.of_online(metrics, OnlineReport(OnlineState.UNKNOWN))
    assert not metrics.gauges
    gauges.of_online(metrics, OnlineReport(state))
    assert metrics.gauges == {(m.ONLINE_OK.name,): value}


def test_what_is_provisioned_knows_where_everything_is(tmp_path: Path) -> None:
    folder = provision(tmp_path / "state", Path("/ray/before"))
    provision(tmp_path / "state", Path("/ray/raytide-x"))  # Ray was started anew, and is elsewhere now
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in written if re.search(r"@[A-Z]+@", path.read_text(encoding="utf-8"))]
    scraped = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = scraped["scrape_configs"]
    (nodes,) = job["file_sd_configs"][0]["files"]
    assert (folder / nodes).readlink() == Path("/ray/raytide-x/prom_metrics_service_discovery.json")
    assert [folder / name for name in scraped["rule_files"]] == [folder / "alerts.yml"]
    providers = yaml.safe_load((folder / "grafana/provisioning/dashboards/raytide.yml").read_text(encoding="utf-8"))
    dashboards = Path(providers["providers"][0]["options"]["path"])
    assert json.loads((dashboards / "raytide.json").read_text(encoding="utf-8")) == DASHBOARD
    assert str(folder / "grafana/provisioning") in (folder / "grafana/grafana.ini").read_text(encoding="utf-8")
