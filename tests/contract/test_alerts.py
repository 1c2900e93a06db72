"""The alert rules, by Prometheus' own tool: each fires for its trouble, and none when all is well."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from cluster.monitoring.provision import DISCOVERY, provision
from tests.prometheus import program

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "cluster" / "monitoring" / "alerts.yml"
CASES = HERE / "alerts_test.yml"


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_provisioned_is_right(tmp_path: Path) -> None:
    (tmp_path / DISCOVERY).write_text("[]", encoding="utf-8")
    promtool("check", "config", provision(tmp_path, tmp_path) / "prometheus.yml")


def test_alerts_fire_for_their_trouble() -> None:
    promtool("test", "rules", CASES)


def test_every_alert_is_tried() -> None:
    rules = [rule["alert"] for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    fired = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test.get("exp_alerts")}
    assert fired == set(rules)
