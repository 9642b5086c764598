"""What needs attention is in the view `alerts` and in the report, and the SQL of each alert shows it."""

import json

import duckdb
import pytest

from lakes import ROOT
from test_report import CONTRAST, OVERFLOW, Numbers, opened, plain

# Among the simulated pages, several are attacked in these nights.
NIGHTS = [f"2026-11-{day:02}" for day in range(1, 11)]


@pytest.fixture(scope="module")
def lake(backlake, folder):
    place = folder / "told"
    for night in NIGHTS:
        backlake("run", ROOT / "pipelines/stories.toml", "--lake", place, "--snapshot", night)
    return place


@pytest.fixture(scope="module")
def connection(backlake, lake):
    connection = duckdb.connect()
    connection.execute(backlake("sql", lake))
    return connection


def test_the_view_has_what_the_command_lists_and_each_sql_shows_it(backlake, lake, connection):
    found = 0
    for night in NIGHTS:
        listed = json.loads(backlake("alerts", lake, "--snapshot", night, "--output", "json"))["alerts"]
        listed = [alert for alert in listed if alert["rule"] != "stale"]
        columns = ["rule", "severity", "target", "labels", "before", "after", "what", "quiet", "sql"]
        rows = connection.execute(
            f"SELECT {', '.join(columns)} FROM alerts WHERE snapshot_date = ? ORDER BY position", [night]).fetchall()
        assert rows == [tuple(alert[column] for column in columns) for alert in listed]
        for alert in listed:
            answer = connection.execute(alert["sql"]).fetchall()
            assert len(answer) >= 2, alert
            if alert["rule"] in ("spam", "domains_lost", "domains_gained"):
                assert answer[-1][-1] == alert["after"], alert
        found += len(listed)
    assert found >= 2


def test_the_report_shows_the_numbers_of_the_view(backlake, lake, connection):
    shown = 0
    for night in NIGHTS:
        numbers = Numbers(backlake("report", lake, "--snapshot", night))
        if "alerts" in numbers.queries:
            answer = [value for row in connection.execute(numbers.queries["alerts"]).fetchall() for value in row]
            values = [value for value, _ in numbers.values["alerts"]]
            assert [plain(value) for value in values] == ["" if value is None else plain(value) for value in answer]
            shown += len(values)
    assert shown >= 4


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_what_needs_attention(backlake, lake, folder, browser, width, scheme):
    page = folder / "attention.html"
    backlake("report", lake, "--out", page)
    tab, _ = opened(browser, page, width, scheme)
    assert tab.locator(".attention li").count() >= 1
    tab.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
    for button in tab.query_selector_all("button.more"):
        button.click()
    assert tab.evaluate(OVERFLOW) == [width, []]
    assert tab.evaluate(CONTRAST)[1] == []
    tab.context.close()


def test_a_lake_without_alerts_has_an_empty_view(backlake, folder, lake):
    place = folder / "silent"
    file = folder / "silent.toml"
    text = (ROOT / "pipelines/stories.toml").read_text().replace("data/", f"{ROOT}/data/")
    file.write_text(text + "\n[alerts]\nenabled = false\n")
    backlake("run", file, "--lake", place, "--snapshot", NIGHTS[0])
    connection = duckdb.connect()
    connection.execute(backlake("sql", place))
    assert connection.execute("SELECT * FROM alerts").fetchall() == []
