"""How fast a snapshot is rebuilt: `backlake replay` beside DuckDB, from the same responses, in the same run.

A response holds 1,000 rows. backlake does all of its work: four tables, sorted, audited, published. DuckDB, with two
threads, reads the same JSON into a table and writes pages and breakdowns, sorted. The full measurement is `--responses
1000`, and must reach three times the speed of DuckDB on two quiet cores, within a bound of memory. CI measures 200 on
whatever machine it is given, and fails only if something has become much slower.
"""

import json
import subprocess
import sys
import types

import pyarrow
import pytest

from lakes import MAPS, NUMBERS, SCRIPTS, manifest_of, pipeline, write_lines

DATE = "2026-11-23"
FULL = 1000
MEGABYTES = 1200


def measure(backlake, folder, *command):
    """Runs a command; returns its standard output, seconds and peak megabytes."""
    figures = folder / "figures.json"
    command = [sys.executable, SCRIPTS / "measure.py", figures, *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, **backlake.options())
    assert done.returncode == 0, f"{command[3]} exited {done.returncode}"
    return done.stdout, *json.loads(figures.read_text())


@pytest.fixture(scope="module")
def responses(pytestconfig):
    return pytestconfig.getoption("responses")


@pytest.fixture(scope="module")
def rebuilt(backlake, folder, responses, measured):
    """A snapshot of so many full responses, rebuilt by backlake and by DuckDB, and the figures of both."""
    targets = (f"https://www.site{n // 40}.com/blog/post-{n}" for n in range(responses * 1000))
    lake = folder / "lake"
    file = pipeline(folder, lake, write_lines(folder / "targets.txt", targets), name="replay")
    backlake("run", file, "--snapshot", DATE, "--quiet")
    result = types.SimpleNamespace(before=manifest_of(lake, DATE)["tables"])

    # DuckDB reads plain JSON files.
    (folder / "json").mkdir()
    size = 0
    for packed in sorted((lake / f"_archive/{DATE}").iterdir()):
        body = pyarrow.input_stream(str(packed), compression="zstd").read()
        (folder / "json" / packed.name.removesuffix(".zst")).write_bytes(body)
        size += len(body)

    arguments = ["replay", file, "--snapshot", DATE, "--output", "json", "--quiet"]
    report, seconds, result.megabytes = measure(backlake, folder, backlake.binary, *arguments)
    result.report, result.after = json.loads(report), manifest_of(lake, DATE)["tables"]
    script = [sys.executable, SCRIPTS / "rebuild_in_duckdb.py", folder, json.dumps(NUMBERS), json.dumps(MAPS)]
    rows, duckdb_seconds, duckdb_megabytes = measure(backlake, folder, *script)
    result.by_duckdb, result.ratio = json.loads(rows), duckdb_seconds / seconds

    pages, breakdowns = (result.before[table]["rows"] for table in ("pages", "breakdowns"))
    lines = [f"replay: {responses} responses, {size / 1e6:.0f} MB of JSON, {pages:,} pages, {breakdowns:,} breakdowns"]
    for name, took, most in [("backlake", seconds, result.megabytes), ("DuckDB", duckdb_seconds, duckdb_megabytes)]:
        lines.append(f"{name:<10}{took:7.2f} s {size / 1e6 / took:7.0f} MB/s {pages / took:12,.0f} rows/s {most:7.0f} MB")
    stages = ", ".join(f"{stage} {took:.2f}" for stage, took in result.report["stage_seconds"].items())
    lines += [f"backlake's stages, in seconds over all threads: {stages}", f"{result.ratio:.2f} times DuckDB"]
    measured("\n".join(lines))
    return result


def test_a_replay_publishes_every_item(rebuilt):
    assert (rebuilt.report["state"], rebuilt.report["items"]) == ("published", rebuilt.before["pages"]["rows"])


def test_a_replay_of_the_same_responses_writes_the_same_files(rebuilt):
    assert rebuilt.after == rebuilt.before


def test_duckdb_rebuilds_the_same_number_of_rows(rebuilt):
    assert rebuilt.by_duckdb == [rebuilt.before[table]["rows"] for table in ("pages", "breakdowns")]


def test_a_replay_is_several_times_as_fast_as_duckdb(rebuilt, responses):
    least, ratio = 3.0 if responses >= FULL else 2.0, rebuilt.ratio
    assert ratio >= least


def test_a_large_replay_keeps_its_memory_within_bounds(rebuilt, responses):
    if responses < FULL:
        pytest.skip(f"says something only of {FULL} responses and more: pass --responses {FULL}")
    assert rebuilt.megabytes < MEGABYTES
