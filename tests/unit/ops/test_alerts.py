"""Alerts and dashboard: Prometheus takes them, and each alert has a case in which it fires."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from support.manifests import ROOT, alert_rules, metrics_in, one
from tools import prometheus_rule

PROMETHEUS = ROOT / "ops" / "prometheus"


def promtool(*words: str | Path) -> str:
    """What it says; it must find nothing wrong."""
    program = shutil.which("promtool")
    assert program, "promtool is not installed: apt-get install prometheus"
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def cases() -> list[dict[str, Any]]:
    tests = yaml.safe_load((PROMETHEUS / "vidhub.rules.test.yml").read_text(encoding="utf-8"))["tests"]
    return [case for test in tests for case in test["alert_rule_test"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / "ops" / "grafana" / "vidhub.json").read_text())["panels"]
    return found


def test_prometheus_takes_the_rules_and_the_scrape():
    assert f"{len(alert_rules())} rules found" in promtool("check", "rules", PROMETHEUS / "vidhub.rules.yml")
    promtool("check", "config", PROMETHEUS / "scrape.yml")
    # The alerts go by the job: that of the scrape, and the operator's, which is the service's name.
    jobs = {job for rule in alert_rules() for job in re.findall(r'job="([^"]*)"', rule["expr"])}
    scrape = yaml.safe_load((PROMETHEUS / "scrape.yml").read_text())["scrape_configs"]
    assert jobs == {each["job_name"] for each in scrape} == {one("overlays/city", "Service")["metadata"]["name"]}


def test_each_alert_fires_when_it_should_and_not_before():
    promtool("test", "rules", PROMETHEUS / "vidhub.rules.test.yml")
    fires = {case["alertname"] for case in cases() if case["exp_alerts"]}
    assert fires == {rule["alert"] for rule in alert_rules()}


def test_each_alert_says_in_both_languages_what_is_wrong_and_what_to_do():
    for rule in alert_rules():
        summary = rule["annotations"]["summary"]
        assert re.search(r"[\u4e00-\u9fff].* / ", summary), rule["alert"]
        assert rule["annotations"]["description"].endswith("."), rule["alert"]


def test_the_operators_rules_are_the_same():
    assert prometheus_rule.TARGET.read_text() == prometheus_rule.made(), "run python tools/prometheus_rule.py"
    spec = one("overlays/city", "PrometheusRule")["spec"]
    assert spec == yaml.safe_load((PROMETHEUS / "vidhub.rules.yml").read_text(encoding="utf-8"))


def test_the_dashboard_is_one_and_its_queries_are_promql(tmp_path: Path):
    """promtool checks them as the expressions of rules, with Grafana's variables filled in."""
    assert (
        one("overlays/city", "ConfigMap", "vidhub-dashboard")["data"]["vidhub.json"]
        == (ROOT / "ops" / "grafana" / "vidhub.json").read_text()
    )
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    filled = [query.replace("$__rate_interval", "1m").replace("$instance", ".*") for query in queries]
    assert not [query for query in filled if "$" in query]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "panels.yml")
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels()}) == len(places)


def test_every_metric_of_the_reference_is_on_the_dashboard():
    reference = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    shown = {name for panel in panels() for target in panel["targets"] for name in metrics_in(target["expr"])}
    shown = {re.sub(r"_bucket$", "", name) for name in shown}
    assert set(re.findall(r"`(vidhub_\w+)`", reference)) == shown
