"""Rules, alerts and the dashboard by themselves; `tests/e2e/test_dashboard.py` asks a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.metrics import EmbedderMetrics, GatewayMetrics, LearnerMetrics, ProcessMetrics, new_registry

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy/prometheus"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/llm-router.json").read_text(encoding="utf-8"))
NOT_OURS = {"up"}


def promtool(*arguments: str) -> None:
    """Run promtool in the rules' folder; skip, loudly, where there is none."""
    if shutil.which("promtool") is None:
        pytest.skip("!!! promtool is not on PATH (Debian: apt-get install prometheus): the rules were NOT checked")
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """Return every expression of rules, alerts and panels."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return panels + [rule["expr"] for name in ("rules.yml", "alerts.yml") for rule in rules(name)]


def series() -> set[str]:
    """Return the name of every series that our processes and rules make."""
    registry = new_registry("test")
    made = {rule["record"] for rule in rules("rules.yml")} | NOT_OURS
    for kind in (ProcessMetrics, GatewayMetrics, EmbedderMetrics, LearnerMetrics):
        kind(registry)
    for metric in registry.collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(metric.type, ("",))
        made |= {metric.name + ending for ending in endings}
    return made


def test_the_configuration_is_one() -> None:
    """Prometheus accepts its configuration and its rules."""
    promtool("check", "config", "--syntax-only", "prometheus.yml")
    promtool("check", "rules", "rules.yml", "alerts.yml")


def test_rules_and_alerts_do_what_they_say() -> None:
    """Two gateways are summed to one router; alerts fire when they should, and not before."""
    promtool("test", "rules", "rules_test.yml")


def test_every_name_in_an_expression_is_exported_by_a_service() -> None:
    """A renamed metric cannot leave a silent panel or a dead alert behind."""
    used = {name for text in expressions() for name in re.findall(r"\b(?:llm_router[\w:]*|process_\w+|up)\b", text)}
    assert used - series() == set()


def test_counters_are_summed_over_processes() -> None:
    """No expression takes one process for the whole: rates are summed, but for those of a process itself."""
    for text in expressions():
        for before in re.findall(r"(.{0,40})\brate\(llm_router_", text):
            assert re.search(r"sum(?: by \([\w, ]+\))? ?\($", before), text


def test_every_alert_is_explained() -> None:
    """The operations page says of each alert what it means and what to do, and of no other."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition("## Alerts")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {rule["alert"] for rule in rules("alerts.yml")}


def test_panels_have_a_title_a_unit_and_say_what_they_show() -> None:
    """No panel needs its query read to be understood, and no two have one id."""
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in panels:
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_every_scraped_job_is_a_service_with_that_port() -> None:
    """The names that are asked of the name server are services of docker-compose.yml."""
    services = yaml.safe_load((ROOT / "deploy/docker-compose.yml").read_text(encoding="utf-8"))["services"]
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    for job in config["scrape_configs"]:
        for asked in job.get("dns_sd_configs", ()):
            assert asked["names"] == [job["job_name"]]
            assert job["job_name"] in services
            assert f":{asked['port']}/" in str(services[job["job_name"]]["healthcheck"]["test"])
