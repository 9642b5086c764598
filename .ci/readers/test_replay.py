"""How fast a snapshot is rebuilt: `backlake replay`, DuckDB and ClickHouse (chdb) from the same responses, in turns, pinned to
the same cores.

A response holds 1,000 rows. backlake does all of its work: four tables from the compressed archive, sorted, hashed, audited,
published. The other two read the same responses as plain JSON and write pages and breakdowns, sorted. Counts and sums of all
three must agree.

CI measures one round of 200 responses on whatever machine it is given, and fails only if something has become much slower.
`cargo bench --bench race` takes five rounds of more responses, on one core and on two.
"""

import json
import os
import statistics
import subprocess
import sys
import types

import duckdb
import pyarrow
import pytest

from lakes import MAPS, NUMBERS, SCRIPTS, manifest_of, parquet, pipeline, write_lines

DATE = "2026-11-23"
FULL = 1000
MEGABYTES = 1200
OTHERS = {"DuckDB": "rebuild_in_duckdb.py", "chdb": "rebuild_in_chdb.py"}
# How many times as fast as each of them: on any machine, and in a full race.
LEAST = {"DuckDB": (2.0, 3.0), "chdb": (1.0, 1.4)}


def measure(backlake, folder, cores, *command):
    """Runs a command on so many cores; returns its standard output, seconds, seconds of CPU, and peak megabytes."""
    figures = folder / "figures.json"
    command = [sys.executable, SCRIPTS / "measure.py", figures, str(cores), *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, **backlake.options())
    assert done.returncode == 0, f"{command[4:6]} exited {done.returncode}"
    return done.stdout, *json.loads(figures.read_text())


def counted(pages, breakdowns):
    """Rows and sums of both tables."""
    sums = [f"SELECT count(*), sum({column})::BIGINT FROM {table}"
            for table, column in [(pages, "backlinks"), (pages, "referring_pages"), (breakdowns, "links")]]
    return [duckdb.sql(query).fetchall()[0] for query in sums]


@pytest.fixture(scope="module")
def responses(pytestconfig):
    return pytestconfig.getoption("responses")


class Race:
    """The responses, and the three that rebuild their rows."""

    def __init__(self, backlake, folder, responses):
        self.backlake, self.folder, self.lake = backlake, folder, folder / "lake"
        targets = (f"https://www.site{n // 40}.com/blog/post-{n}" for n in range(responses * 1000))
        self.file = pipeline(folder, self.lake, write_lines(folder / "targets.txt", targets), name="replay")
        backlake("run", self.file, "--snapshot", DATE, "--quiet")
        self.before = manifest_of(self.lake, DATE)["tables"]
        self.counted = {"backlake": counted(parquet(self.lake, "pages"), parquet(self.lake, "breakdowns"))}
        self.bytes = {"backlake": sum(file["bytes"] for table in ("pages", "breakdowns") for file in self.before[table]["files"])}
        # The others read plain JSON files.
        (folder / "json").mkdir()
        self.json_bytes = 0
        for packed in sorted((self.lake / f"_archive/{DATE}").iterdir()):
            body = pyarrow.input_stream(str(packed), compression="zstd").read()
            (folder / "json" / packed.name.removesuffix(".zst")).write_bytes(body)
            self.json_bytes += len(body)

    def replay(self, cores):
        """backlake's turn; returns its report, and what it took."""
        arguments = ["replay", self.file, "--snapshot", DATE, "--output", "json", "--quiet"]
        report, *took = measure(self.backlake, self.folder, cores, self.backlake.binary, *arguments)
        return json.loads(report), took

    def rebuild(self, name, cores):
        """The turn of another one; returns what it took."""
        script = [sys.executable, SCRIPTS / OTHERS[name], self.folder, str(cores), json.dumps(NUMBERS), json.dumps(MAPS)]
        _, *took = measure(self.backlake, self.folder, cores, *script)
        files = [self.folder / f"{table}.parquet" for table in ("pages", "breakdowns")]
        self.counted[name], self.bytes[name] = counted(*(f"'{file}'" for file in files)), sum(map(os.path.getsize, files))
        return took

    def run(self, cores, rounds):
        """So many rounds on so many cores; returns the medians by name, and a table of them."""
        times = {name: [] for name in ["backlake", *OTHERS]}
        for _ in range(rounds):
            self.report, took = self.replay(cores)
            times["backlake"].append(took)
            for name in OTHERS:
                times[name].append(self.rebuild(name, cores))
        medians = {name: [statistics.median(column) for column in zip(*took)] for name, took in times.items()}
        lines = [f"on {cores} core{'s' * (cores > 1)}, medians of {rounds}, interleaved:",
                 f"{'':<10}{'time':>9}{'CPU':>9}{'JSON':>10}{'pages':>15}{'peak':>9}{'files':>10}{'backlake is':>13}"]
        for name, (seconds, cpu, megabytes) in medians.items():
            ratio = f"{seconds / medians['backlake'][0]:.2f} times" if name in OTHERS else ""
            lines.append(f"{name:<10}{seconds:>7.2f} s{cpu:>7.2f} s{self.json_bytes / 1e6 / seconds:>5.0f} MB/s"
                         f"{self.before['pages']['rows'] / seconds:>9,.0f} rows/s{megabytes:>6.0f} MB"
                         f"{self.bytes[name] / 1e6:>7.1f} MB{ratio:>13}")
        stages = ", ".join(f"{stage} {took:.2f}" for stage, took in self.report["stage_seconds"].items())
        return medians, "\n".join([*lines, f"backlake's stages, in seconds over all threads: {stages}"])


@pytest.fixture(scope="module")
def rebuilt(backlake, folder, responses, measured, pytestconfig):
    """A snapshot of so many full responses, rebuilt by all three, and the figures."""
    race = Race(backlake, folder, responses)
    rounds, cores = pytestconfig.getoption("rounds"), min(2, len(os.sched_getaffinity(0)))
    pages, breakdowns = (race.before[table]["rows"] for table in ("pages", "breakdowns"))
    lines = [f"replay: {responses} responses, {race.json_bytes / 1e6:.0f} MB of JSON, {pages:,} pages, {breakdowns:,} breakdowns"]
    for cores in range(1 if rounds > 1 else cores, cores + 1):
        medians, table = race.run(cores, rounds)
        lines.append(table)
    measured("\n".join(lines))
    ratios = {name: medians[name][0] / medians["backlake"][0] for name in OTHERS}
    return types.SimpleNamespace(race=race, after=manifest_of(race.lake, DATE)["tables"], ratios=ratios,
                                 megabytes=medians["backlake"][2])


def test_a_replay_publishes_every_item(rebuilt):
    report = rebuilt.race.report
    assert (report["state"], report["items"]) == ("published", rebuilt.race.before["pages"]["rows"])


def test_a_replay_of_the_same_responses_writes_the_same_files(rebuilt):
    assert rebuilt.after == rebuilt.race.before


@pytest.mark.parametrize("name", OTHERS)
def test_others_rebuild_the_same_rows_and_sums(rebuilt, name):
    assert rebuilt.race.counted[name] == rebuilt.race.counted["backlake"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_replay_is_faster_than_half_of_its_work_in_other_engines(rebuilt, responses, name):
    assert rebuilt.ratios[name] >= LEAST[name][responses >= FULL], rebuilt.ratios


def test_a_large_replay_keeps_its_memory_within_bounds(rebuilt, responses):
    if responses < FULL:
        pytest.skip(f"says something only of {FULL} responses and more: pass --responses {FULL}")
    assert rebuilt.megabytes < MEGABYTES
