"""The rules in docs/deploy/alerts.yml, read and run by Prometheus's own promtool."""

import re
import shutil
import subprocess

import pytest

from lakes import ROOT

RULES = ROOT / "docs/deploy/alerts.yml"
TESTS = ROOT / ".ci/readers/alerts_test.yml"


def promtool(*args, **options):
    """What promtool prints, and whether it found nothing wrong."""
    program = shutil.which("promtool") or pytest.fail("no promtool: .ci/readers/run installs it")
    done = subprocess.run([program, *args], capture_output=True, text=True, timeout=120, **options)
    return done.returncode == 0, done.stdout + done.stderr


def test_promtool_reads_the_rules():
    fine, said = promtool("check", "rules", RULES)
    assert fine and "SUCCESS" in said, said


def run_tests(folder, rules):
    (folder / "alerts.yml").write_text(rules)
    return promtool("test", "rules", shutil.copy(TESTS, folder))


def test_each_rule_fires_with_its_cause_and_not_without_it(tmp_path):
    fine, said = run_tests(tmp_path, RULES.read_text())
    assert fine, said
    names = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    assert names == set(re.findall(r"alertname: (\w+)", TESTS.read_text())), "a rule without a test"


def test_a_rule_that_forgets_failures_while_a_try_is_in_progress_is_found(tmp_path):
    rules = RULES.read_text()
    changed = re.sub(r"expr: max_over_time\(.*", "expr: backlake_run_exit_code > 0", rules)
    fine, said = run_tests(tmp_path, changed)
    assert changed != rules and not fine and "BacklakeFailed" in said, said


def test_the_rules_use_only_metrics_that_a_run_writes(backlake, tmp_path):
    metrics = tmp_path / "backlake.prom"
    backlake.report("run", "pipelines/demo.toml", "--lake", tmp_path / "lake", "--metrics-file", metrics, "--max-cost-usd", "99")
    written = set(re.findall(r"^# TYPE (\w+) ", metrics.read_text(), re.MULTILINE))
    used = set(re.findall(r"backlake_\w+", " ".join(re.findall(r"expr: (.*)", RULES.read_text()))))
    assert used and used <= written, used - written


def test_promtool_finds_nothing_wrong_with_the_metrics(demo):
    fine, said = promtool("check", "metrics", stdin=demo.metrics.open())
    assert fine, said
