"""The views of `backlake sql` in DuckDB, each beside a computation by hand from what the provider answered."""

import collections
import decimal
import json
import pathlib
import re
import shutil
import sys
import tempfile
import traceback
import zlib

import duckdb
import pyarrow.parquet as pq

from lakes import MAPS, ROOT, ask, backlake, charged, partitions_read, pipeline, simulator, stem, twisted

DATES = ["2026-09-01", "2026-10-15", "2026-11-23"]
TABLES = ["pages", "breakdowns", "targets", "requests"]
VIEWS = [*TABLES, "pages_latest", "breakdowns_latest", "page_changes", "run_costs"]
COMPARED = ["backlinks", "referring_domains", "rank"]


class Night:
    """What was asked for on a date, and what the provider answered."""

    def __init__(self, number):
        self.date = DATES[number]
        # The list changes: some sites come with a night, some go.
        sites = [f"site{n}.com" for n in range(60) if not (n % 20 == 1 and number == 0) and not (n % 20 == 2 and number > 0)]
        self.asked = {f"https://{site}/{page}": site for site in sites for page in range(25)} | {site: site for site in sites}
        self.lines = [*self.asked, *list(self.asked)[:7], "nonsense"]
        self.refused = frozenset(list(self.asked)[100:900:200]) if number == 1 else frozenset()
        self.pages, self.cost = {}, []

    def twist(self, item):
        """Some pages are lost from night to night, some come back, some stay as they were."""
        draw = zlib.crc32(item["url"].encode()) % 50
        if draw == 0:
            return self.date != DATES[1]
        if draw == 1:
            return self.date != DATES[2]
        if draw == 2:
            item["rank"] = None
        return True

    def publish(self, folder, lake, before):
        # Who was refused once is not asked for again for 30 days, by the clock.
        self.refused |= before.refused if before else frozenset()
        source = pathlib.Path(folder, "targets.txt")
        source.write_text("\n".join(self.lines) + "\n")
        with simulator(self.date) as plainly, twisted(plainly, self.twist, self.refused) as provider:
            file = pipeline(folder, "views", f'paths = ["{source}"]', lake, provider)
            report = json.loads(backlake("run", file, "--snapshot", self.date, "--output", "json"))
            assert report["state"] == "published", report
            self.requests = report["requests"]
            by_root = collections.defaultdict(list)
            for target, site in self.asked.items():
                if target not in self.refused:
                    by_root[site].append(target)
            stems = {stem(target): target for target in self.asked}
            self.pages = {stems[stem(item["url"])]: item for item in ask(provider, by_root)}
            self.cost = charged(provider)

    def fate(self, target):
        if target not in self.asked:
            return None
        if target in self.refused:
            return "refused"
        return "returned" if target in self.pages else "absent"


def changes(nights):
    """page_changes by hand."""
    found = []
    for before, now in zip(nights, nights[1:]):
        for target in before.asked | now.asked:
            fates = now.fate(target), before.fate(target)
            if "returned" not in fates:
                continue
            this, that = now.pages.get(target), before.pages.get(target)
            if this and that:
                change = "same" if all(this[name] == that[name] for name in COMPARED) else "changed"
            else:
                other = fates[0] if that else fates[1]
                words = {"absent": ("lost", "new"), None: ("removed", "added"), "refused": ("unanswered", "unanswered")}[other]
                change = words[0] if that else words[1]
            row = [now.date, before.date, target, (before.asked | now.asked)[target], change]
            for name in COMPARED:
                left, right = this and this[name], that and that[name]
                row += [left, right, None if left is None or right is None else left - right]
            found.append((*row, *fates))
    return sorted(found, key=repr)


class Lake:
    """Three nights, the script made after the second, and in every partition what is not to be read."""

    def __init__(self, folder):
        self.path = f"{folder}/the team's [old] lake"
        self.nights = [Night(number) for number in range(3)]
        self.script = pathlib.Path(folder, "views.sql")
        for number, night in enumerate(self.nights):
            night.publish(folder, self.path, self.nights[number - 1] if number else None)
            if number == 1:
                backlake("sql", self.path, "--write", str(self.script))
        assert self.script.read_text() == backlake("sql", self.path), "the script is to be the same for every night"
        assert [file.name for file in pathlib.Path(folder).glob("views.sql*")] == ["views.sql"]
        for table in TABLES:
            for night in self.nights:
                partition = pathlib.Path(self.path, table, f"snapshot_date={night.date}")
                whole = next(partition.glob("*.parquet"))
                shutil.copy(whole, partition / "stray.parquet")
                (partition / "half.parquet").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
            shutil.copytree(partition, partition.with_name("snapshot_date=2026-11-24"))
        self.connection = self.connect()

    def connect(self, place=None):
        connection = duckdb.connect()
        script = self.script.read_text()
        if place:
            # The same lake elsewhere: as DuckDB writes the place, without and with its patterns.
            script = script.replace(self.path.replace("'", "''").replace("[", "[[]"), place)
        connection.execute(script)
        return connection

    def all(self, query):
        found = [[value.isoformat() if hasattr(value, "isoformat") else value for value in row] for row in self.connection.execute(query).fetchall()]
        return sorted(map(tuple, found), key=repr)


def the_tables_are_all_published_snapshots_and_nothing_else(lake):
    for name, table in [("pages", "pages"), ("pages_latest", "pages")]:
        nights = lake.nights if name == table else lake.nights[-1:]
        truth = [(night.date, target, item["backlinks"], item["rank"]) for night in nights for target, item in night.pages.items()]
        assert lake.all(f"SELECT snapshot_date, target, backlinks, rank FROM {name}") == sorted(truth, key=repr), name
    for name, nights in [("breakdowns", lake.nights), ("breakdowns_latest", lake.nights[-1:])]:
        truth = [
            (night.date, target, dimension, key, links)
            for night in nights for target, item in night.pages.items()
            for dimension, field in MAPS.items() for key, links in (item[field] or {}).items()
        ]
        assert lake.all(f"SELECT snapshot_date, target, dimension, key, links FROM {name}") == sorted(truth, key=repr), name
    truth = [(night.date, line) for night in lake.nights for line in night.lines]
    assert lake.all("SELECT snapshot_date, input FROM targets") == sorted(truth, key=repr)
    truth = [(night.date, night.requests, sum(decimal.Decimal(str(cost)) for cost in night.cost)) for night in lake.nights]
    assert lake.all("SELECT snapshot_date, count(*), sum(cost_usd) FROM requests GROUP BY ALL") == sorted(truth, key=repr)
    for name in VIEWS:
        types = dict(lake.connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})").fetchall())
        assert types["snapshot_date"] == "DATE", (name, types)


def page_changes_are_those_reckoned_by_hand(lake):
    numbers = ", ".join(f"{name}, {name}_before, {name}_change" for name in COMPARED)
    truth = changes(lake.nights)
    counts = collections.Counter(row[4] for row in truth)
    assert {"same", "changed", "new", "lost", "added", "removed", "unanswered"} == set(counts), counts
    found = lake.all(f"SELECT snapshot_date, previous_date, target, root_domain, change, {numbers}, fate, fate_before FROM page_changes")
    assert found == truth, next(pair for pair in zip(found, truth) if pair[0] != pair[1])


def run_costs_are_what_the_provider_charged(lake):
    truth = []
    for night in lake.nights:
        fates = collections.Counter(map(night.fate, night.asked))
        cost = sum(decimal.Decimal(str(cost)) for cost in night.cost)
        counts = [len(night.lines), len(night.asked), fates["returned"], fates["absent"], fates["refused"]]
        truth.append((night.date, *counts, night.requests, len(night.pages), cost))
    found = lake.all("SELECT snapshot_date, lines, targets, returned, absent, unanswered, requests, items, cost_usd FROM run_costs")
    assert found == truth, (found, truth)


def a_condition_on_the_date_spares_the_other_files(lake):
    first, second, third = (f"snapshot_date={date}" for date in DATES)
    for query, partitions in [
        (f"SELECT sum(backlinks) FROM pages WHERE snapshot_date = DATE '{DATES[0]}'", {first}),
        (f"SELECT sum(links) FROM breakdowns WHERE snapshot_date < DATE '{DATES[2]}'", {first, second}),
        ("SELECT sum(backlinks) FROM pages_latest", {third}),
        ("SELECT sum(links) FROM breakdowns_latest", {third}),
        (f"SELECT sum(backlinks_change) FROM page_changes WHERE snapshot_date = '{DATES[1]}'", {first, second}),
        (f"SELECT change, count(*) FROM page_changes WHERE snapshot_date = '{DATES[2]}' GROUP BY ALL", {second, third}),
        ("SELECT sum(cost_usd) FROM run_costs", set()),
    ]:
        found = partitions_read(lake.connection, query)
        assert found == partitions, (query, found)


def what_is_spared_may_even_be_ruined(lake):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(lake.path, f"{folder}/lake")
        for file in pathlib.Path(folder).glob(f"lake/*/snapshot_date={DATES[0]}/*"):
            file.write_bytes(b"no Parquet")
        connection = lake.connect(f"{folder}/lake")
        for name in ["pages_latest", "breakdowns_latest", f"page_changes WHERE snapshot_date = '{DATES[2]}'", "run_costs"]:
            query = f"SELECT count(*) FROM {name}"
            assert connection.execute(query).fetchall() == lake.connection.execute(query).fetchall(), name


def an_older_contract_may_have_fewer_columns(lake):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(lake.path, f"{folder}/lake")
        manifest = pathlib.Path(folder, f"lake/_snapshots/{DATES[0]}.json")
        told = json.loads(manifest.read_text())
        told["tables"]["pages"]["contract"] = "pages.v0"
        del told["generation"]
        manifest.write_text(json.dumps(told))
        for file in told["tables"]["pages"]["files"]:
            rows = pq.read_table(f"{folder}/lake/{file['path']}", partitioning=None)
            pq.write_table(rows.drop_columns(["rank"]), f"{folder}/lake/{file['path']}")
        connection = lake.connect(f"{folder}/lake")
        found = connection.execute("SELECT count(*), count(rank), sum(backlinks) FROM pages GROUP BY snapshot_date ORDER BY snapshot_date").fetchall()
        truth = lake.connection.execute("SELECT count(*), count(rank), sum(backlinks) FROM pages GROUP BY snapshot_date ORDER BY snapshot_date").fetchall()
        assert found == [(truth[0][0], 0, truth[0][2]), *truth[1:]], found
        assert connection.execute("SELECT min(generation) FROM run_costs").fetchone() == (1,)


def a_session_keeps_its_snapshots_until_the_script_is_run_again(lake):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(lake.path, f"{folder}/lake")
        manifest = pathlib.Path(folder, f"lake/_snapshots/{DATES[2]}.json")
        manifest.rename(f"{folder}/away.json")
        connection = lake.connect(f"{folder}/lake")
        latest = "SELECT max(snapshot_date)::VARCHAR, count(DISTINCT snapshot_date) FROM pages"
        assert connection.execute(latest).fetchone() == (DATES[1], 2)
        pathlib.Path(f"{folder}/away.json").rename(manifest)
        assert connection.execute(latest).fetchone() == (DATES[1], 2)
        connection.execute(lake.script.read_text().replace(lake.path.replace("'", "''").replace("[", "[[]"), f"{folder}/lake"))
        assert connection.execute(latest).fetchone() == (DATES[2], 3)


def nothing_published_is_said_so(_):
    with tempfile.TemporaryDirectory() as folder:
        assert backlake("sql", folder, code=2) == ""


def the_readme_s_loader_loads_what_the_manifests_name_and_that_once(lake):
    code = re.search(r"```python\n(import hashlib.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    scope, loaded, rows = {}, {}, collections.Counter()
    exec(code, scope)

    def load(name, date, contract, files):
        assert contract == f"{name}.v1", contract
        rows[name, date] += sum(pq.read_metadata(file).num_rows for file in files)

    for _ in range(2):
        scope["load_new"](lake.path, loaded, load)
    truth = {(name, date): count for name in TABLES for date, count in lake.all(f"SELECT snapshot_date, count(*) FROM {name} GROUP BY ALL")}
    assert rows == truth and set(loaded) == set(DATES), (rows, truth)


def the_readme_s_queries_on_views_give_the_readme_s_numbers(_):
    text = (ROOT / "README.md").read_text()
    pairs = re.findall(r"```sql views\n(.*?)```\n+```text\n(.*?)```", text, re.DOTALL)
    assert len(pairs) >= 5, "the README shows no queries on views"
    with tempfile.TemporaryDirectory() as folder:
        for date in re.findall(r"backlake run pipelines/demo.toml --snapshot (\S+)", text):
            backlake("run", "pipelines/demo.toml", "--lake", f"{folder}/lake", "--snapshot", date)
        connection = duckdb.connect()
        connection.execute(backlake("sql", f"{folder}/lake"))
        for query, shown in pairs:
            result = connection.execute(query)
            names = [column[0] for column in result.description]
            rows = [names, *([str(value) for value in row] for row in result.fetchall())]
            found = [[cell.strip() for cell in line.split("|")] for line in shown.strip().splitlines()]
            found = [row for row in found if not set("".join(row)) <= set("- ")]
            assert found == rows, f"{query}\nthe README shows {found}\nDuckDB says {rows}"


CHECKS = [
    the_tables_are_all_published_snapshots_and_nothing_else,
    page_changes_are_those_reckoned_by_hand,
    run_costs_are_what_the_provider_charged,
    a_condition_on_the_date_spares_the_other_files,
    what_is_spared_may_even_be_ruined,
    an_older_contract_may_have_fewer_columns,
    a_session_keeps_its_snapshots_until_the_script_is_run_again,
    nothing_published_is_said_so,
    the_readme_s_loader_loads_what_the_manifests_name_and_that_once,
    the_readme_s_queries_on_views_give_the_readme_s_numbers,
]


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        for check in CHECKS:
            try:
                check(lake)
                print(f"ok      {check.__name__}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {check.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
