"""The alert rules that are shipped: each fires when it should, and not when all is well, as promtool sees it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.people import PROJECT

RULES = PROJECT / "prometheus" / "alerts.yml"
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())
WHO = 'instance="a:8473", job="watcher"'

WELL = {
    "up": "1x300",
    "watcher_healthy": "1x300",
    "watcher_last_scan_timestamp_seconds": "0+60x300",
    'watcher_last_success_timestamp_seconds{step="file"}': "0+60x300",
    'watcher_step_failing{step="file"}': "0x300",
    'watcher_paused{reason="account"}': "0x300",
    'watcher_paused{reason="service"}': "0x300",
    'watcher_paused{reason="person"}': "0x300",
    'watcher_paused{reason="throttle"}': "1x300",  # within the rate: it ends by itself
    "watcher_oldest_waiting_timestamp_seconds": "0x300",  # none waits
    'watcher_items_needing_person{state="held"}': "0x300",
    'watcher_items_needing_person{state="failed"}': "0x300",
    'watcher_arrival_to_filed_seconds_count{outcome="done"}': "0+1x300",
    'watcher_arrival_to_filed_seconds_count{outcome="failed"}': "0x300",
    "watcher_blocked_files": "0x300",
    "watcher_stuck_items": "0x300",
    'watcher_verdicts_unknown{state="overdue"}': "0x300",
    'watcher_verdicts_total{classification="artificial"}': "0x300",
    "watcher_sites_without_node": "0x300",
}
"""A site that works, one value a minute, for five hours from 1970 on."""

FIRES: dict[str, dict[str, str]] = {
    "WatcherDown": {"up": "0x300"},
    "WatcherUnhealthy": {"watcher_healthy": "0x300"},
    "WatcherNotScanning": {"watcher_last_scan_timestamp_seconds": "60x300"},
    "WatcherStepFailing": {"watcher_healthy": "0x300", 'watcher_step_failing{step="file"}': "1x300"},
    "WatcherStepSilent": {'watcher_last_success_timestamp_seconds{step="file"}': "0x300"},
    "WatcherPaused": {"watcher_healthy": "0x300", 'watcher_paused{reason="account"}': "1x300"},
    "WatcherBacklogOld": {"watcher_oldest_waiting_timestamp_seconds": "60x300"},
    "WatcherHeld": {'watcher_items_needing_person{state="held"}': "2x300"},
    "WatcherFailed": {'watcher_items_needing_person{state="failed"}': "2x300"},
    "WatcherManyFail": {'watcher_arrival_to_filed_seconds_count{outcome="failed"}': "0+1x300"},
    "WatcherBlocked": {"watcher_blocked_files": "1x300"},
    "WatcherStuck": {"watcher_stuck_items": "1x300"},
    "WatcherVerdictsOverdue": {'watcher_verdicts_unknown{state="overdue"}': "1x300"},
    "WatcherArtificial": {'watcher_verdicts_total{classification="artificial"}': "0x295 1x5"},
    "WatcherSiteWithoutNode": {"watcher_sites_without_node": "1x300"},
}
"""What is otherwise then."""

SILENT = {
    "a few that fail at once": {'watcher_arrival_to_filed_seconds_count{outcome="failed"}': "0x250 1x50"},
    "old, but paused": {
        "watcher_oldest_waiting_timestamp_seconds": "60x300",
        'watcher_paused{reason="person"}': "1x300",
    },
    "overdue, but paused": {
        'watcher_verdicts_unknown{state="overdue"}': "1x300",
        'watcher_paused{reason="account"}': "1x300",
    },
    "a moment": {
        "watcher_healthy": "1x298 0x2",
        'watcher_step_failing{step="file"}': "0x298 1x2",
        "up": "1x299 0x1",
    },
    "a restart": {'watcher_verdicts_total{classification="artificial"}': "3x300"},
}
"""What is otherwise, and does not wake anybody; but for the pause, where there is one."""


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed: apt-get install prometheus")
    assert program is not None, "apt-get install prometheus"
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


def labelled(series: str) -> str:
    """The series of one daemon, as its scrape has it."""
    name, brace, labels = series.partition("{")
    return f"{name}{{{WHO}, {labels}" if brace else f"{name}{{{WHO}}}"


def case(changes: dict[str, str], firing: set[str]) -> dict[str, object]:
    """All alerts at the end of the five hours: so many of these fire, and none else."""
    series = [{"series": labelled(name), "values": values} for name, values in (WELL | changes).items()]
    counted = 'count by (alertname) (ALERTS{alertstate="firing"})'
    told = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)]
    asked = [{"expr": counted, "eval_time": "300m", "exp_samples": told}]
    return {"interval": "1m", "input_series": series, "promql_expr_test": asked}


def check(tmp_path: Path, *cases: dict[str, object]) -> None:
    file = tmp_path / "cases.yml"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(cases)}))
    said = promtool("test", "rules", str(file))
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_is_tried() -> None:
    assert list(FIRES) == ALERTS


def test_promtool_understands_the_rules() -> None:
    said = promtool("check", "rules", str(RULES))
    assert said.returncode == 0, said.stdout + said.stderr


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    check(tmp_path, case({}, set()))


@pytest.mark.parametrize("alert", ALERTS)
def test_each_fires_alone(alert: str, tmp_path: Path) -> None:
    """One cause, one alert."""

    check(tmp_path, case(FIRES[alert], {alert}))


@pytest.mark.parametrize("why", SILENT)
def test_what_wakes_nobody(why: str, tmp_path: Path) -> None:
    """What follows from a pause is silent while the pause is told."""
    check(tmp_path, case(SILENT[why], {"WatcherPaused"} if "paused" in why else set()))


def test_the_rules_ask_for_what_there_is() -> None:
    """Each series that they name is one of /metrics, or Prometheus's own."""
    named = set(re.findall(r"\b(watcher_\w+)\b", RULES.read_text()))
    given = (PROJECT / "watcher" / "web" / "collector.py").read_text()
    for name in named:
        plain = re.sub(r"_(total|count|sum|bucket)$", "", name)
        assert f'"{plain}"' in given or f'"{plain.removeprefix("watcher_")}"' in given, name
