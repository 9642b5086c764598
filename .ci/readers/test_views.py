"""The views of `backlake sql` in DuckDB, each compared with a computation from what the provider returned."""

import collections
import datetime
import decimal
import json
import pathlib
import re
import shutil
import zlib

import duckdb
import pyarrow.parquet as pq
import pytest

from lakes import (ACCOUNT, MAPS, ROOT, TABLES, altered, ask_provider, charged, difference, manifest_of, partitions_read,
                   pipeline, rows_read, stem, write_lines)

DATES = ["2026-09-01", "2026-10-15", "2026-11-23"]
VIEWS = [*TABLES, "pages_latest", "breakdowns_latest", "targets_latest", "page_changes", "page_changes_latest",
         "run_costs", "nights", "page_history", "domains", "domain_changes", "breakdown_changes", "labelled", "label_daily"]
COMPARED = ["backlinks", "referring_domains", "rank"]


class Night:
    """The targets of a date, and what the provider returned for them."""

    def __init__(self, number):
        self.date = DATES[number]
        # The list changes: some sites come with a night, some go.
        sites = [f"site{n}.com" for n in range(60)
                 if not (n % 20 == 1 and number == 0) and not (n % 20 == 2 and number > 0)]
        self.asked = {f"https://{site}/{page}": site for site in sites for page in range(25)} | dict(zip(sites, sites))
        self.lines = [*self.asked, *list(self.asked)[:7], "nonsense"]
        self.refused = frozenset(list(self.asked)[100:900:200]) if number == 1 else frozenset()
        self.pages, self.cost = {}, []

    def alter(self, item):
        """Some pages are lost from night to night, some come back, some stay as they were."""
        draw = zlib.crc32(item["url"].encode()) % 50
        if draw == 0:
            return self.date != DATES[1]
        if draw == 1:
            return self.date != DATES[2]
        if draw == 2:
            item["rank"] = None
        return True

    def publish(self, backlake, folder, lake, before):
        # By the wall clock, a refused target is not asked again for 30 days.
        self.refused |= before.refused if before else frozenset()
        source = write_lines(folder / "targets.txt", self.lines)
        with backlake.simulator(self.date) as simulator, altered(simulator, self.alter, self.refused) as provider:
            file = pipeline(folder, lake, source, name="views", base_url=provider)
            report = backlake.report("run", file, "--snapshot", self.date, env=ACCOUNT)
            assert report["state"] == "published", report
            self.requests = report["requests"]
            by_root = collections.defaultdict(list)
            for target, site in self.asked.items():
                if target not in self.refused:
                    by_root[site].append(target)
            stems = {stem(target): target for target in self.asked}
            self.pages = {stems[stem(item["url"])]: item for item in ask_provider(provider, by_root)}
            self.cost = charged(provider)

    def fate(self, target):
        if target not in self.asked:
            return None
        if target in self.refused:
            return "refused"
        return "returned" if target in self.pages else "absent"


def changes(nights):
    """The rows of page_changes, computed from the nights."""
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
                words = {"absent": ("lost", "new"), None: ("removed", "added"), "refused": ("unanswered", "unanswered")}
                change = words[other][0] if that else words[other][1]
            row = [now.date, before.date, target, (before.asked | now.asked)[target], change]
            for name in COMPARED:
                left, right = this and this[name], that and that[name]
                row += [left, right, None if left is None or right is None else left - right]
            found.append((*row, *fates))
    return sorted(found, key=repr)


class Lake:
    """Three nights, the script made after the second, and in every partition files that no manifest names."""

    def __init__(self, backlake, folder):
        # A place that both SQL and globs must quote.
        self.path = folder / "the team's [old] lake"
        self.nights = [Night(number) for number in range(3)]
        file = folder / "views.sql"
        for number, night in enumerate(self.nights):
            night.publish(backlake, folder, self.path, self.nights[number - 1] if number else None)
            if number == 1:
                backlake("sql", self.path, "--write", file)
        self.script, self.files = file.read_text(), [path.name for path in folder.glob("views.sql*")]
        for table in TABLES:
            for night in self.nights:
                partition = self.path / table / f"snapshot_date={night.date}"
                whole = next(partition.glob("*.parquet"))
                shutil.copy(whole, partition / "stray.parquet")
                (partition / "half.parquet").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
            shutil.copytree(partition, partition.with_name("snapshot_date=2026-11-24"))
        self.connection = duckdb.connect()
        self.connection.execute(self.script)

    def script_for(self, place):
        """The script for a copy of the lake: the path is quoted for SQL, and in patterns for globs."""
        return self.script.replace(str(self.path).replace("'", "''").replace("[", "[[]"), str(place))

    def rows(self, query):
        found = self.connection.execute(query).fetchall()
        plain = ([value.isoformat() if hasattr(value, "isoformat") else value for value in row] for row in found)
        return sorted(map(tuple, plain), key=repr)


@pytest.fixture(scope="module")
def lake(backlake, folder):
    return Lake(backlake, folder)


@pytest.fixture
def copied(lake, tmp_path):
    """A copy of the lake that a test may change."""
    return shutil.copytree(lake.path, tmp_path / "lake")


def check(found, truth):
    problem = difference(found, sorted(truth, key=repr))
    assert not problem, problem


def test_the_script_is_the_same_for_every_night(lake, backlake):
    assert lake.script == backlake("sql", lake.path)


def test_writing_the_script_leaves_no_other_file(lake):
    assert lake.files == ["views.sql"]


@pytest.mark.parametrize("name", ["{lake}\nCREATE TABLE planted (a INT);--", "it's; CREATE TABLE planted (a INT);--",
                                  "x\n.shell exit 9", "{tables} {place}", "[x]*? {y} -- $1"])
def test_the_path_of_a_lake_is_a_path_and_never_a_statement(copied, backlake, name):
    place = copied.rename(copied.with_name(name))
    connection = duckdb.connect()
    connection.execute(backlake("sql", place))
    assert connection.execute("SELECT count(*) > 1000 FROM pages").fetchone() == (True,)
    assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == []


def test_a_lake_that_duckdb_cannot_read_is_refused(copied, backlake):
    place = copied.rename(copied.with_name("a\\b"))
    assert backlake("sql", place, code=2) == ""


def test_a_lake_without_a_snapshot_is_an_error_and_no_script(backlake, tmp_path):
    assert backlake("sql", tmp_path, code=2) == ""


@pytest.mark.parametrize(("name", "nights"), [("pages", slice(None)), ("pages_latest", slice(-1, None))])
def test_pages_are_those_of_the_published_snapshots_and_nothing_else(lake, name, nights):
    truth = [(night.date, target, item["backlinks"], item["rank"])
             for night in lake.nights[nights] for target, item in night.pages.items()]
    check(lake.rows(f"SELECT snapshot_date, target, backlinks, rank FROM {name}"), truth)


@pytest.mark.parametrize(("name", "nights"), [("breakdowns", slice(None)), ("breakdowns_latest", slice(-1, None))])
def test_breakdowns_are_those_of_the_published_snapshots_and_nothing_else(lake, name, nights):
    truth = [(night.date, target, dimension, key, links)
             for night in lake.nights[nights] for target, item in night.pages.items()
             for dimension, field in MAPS.items() for key, links in (item[field] or {}).items()]
    check(lake.rows(f"SELECT snapshot_date, target, dimension, key, links FROM {name}"), truth)


def test_targets_are_the_lines_of_the_published_snapshots(lake):
    truth = [(night.date, line) for night in lake.nights for line in night.lines]
    check(lake.rows("SELECT snapshot_date, input FROM targets"), truth)


def test_requests_cost_what_the_provider_charged(lake):
    truth = [(night.date, night.requests, sum(decimal.Decimal(str(cost)) for cost in night.cost)) for night in lake.nights]
    check(lake.rows("SELECT snapshot_date, count(*), sum(cost_usd) FROM requests GROUP BY ALL"), truth)


@pytest.mark.parametrize("name", VIEWS)
def test_the_date_is_a_date_in_every_view(lake, name):
    types = dict(lake.connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})").fetchall())
    assert types["snapshot_date"] == "DATE", types


def test_page_changes_are_those_computed_from_the_responses(lake):
    numbers = ", ".join(f"{name}, {name}_before, {name}_change" for name in COMPARED)
    truth = changes(lake.nights)
    counts = collections.Counter(row[4] for row in truth)
    assert {"same", "changed", "new", "lost", "added", "removed", "unanswered"} == set(counts), counts
    check(lake.rows(f"SELECT snapshot_date, previous_date, target, root_domain, change, {numbers}, fate, fate_before "
                    f"FROM page_changes"), truth)


def test_the_latest_changes_are_those_of_the_last_night(lake):
    latest = lake.rows("SELECT target, change, backlinks_change FROM page_changes_latest")
    truth = [(row[2], row[4], row[7]) for row in changes(lake.nights) if row[0] == DATES[2]]
    check(latest, truth)


def test_run_costs_are_what_the_provider_charged(lake):
    truth = []
    for night in lake.nights:
        fates = collections.Counter(map(night.fate, night.asked))
        cost = sum(decimal.Decimal(str(cost)) for cost in night.cost)
        counts = [len(night.lines), len(night.asked), fates["returned"], fates["absent"], fates["refused"]]
        truth.append((night.date, *counts, night.requests, len(night.pages), cost))
    check(lake.rows("SELECT snapshot_date, lines, targets, returned, absent, unanswered, requests, items, cost_usd "
                    "FROM run_costs"), truth)


def test_nights_are_all_dates_from_the_first_to_the_last(lake, copied):
    held, gone = "2026-11-24", "2026-11-25"
    for date, name, text in [(held, "run.json", "{}"), (held, "summary.json", json.dumps({"exit_code": 5, "error": "drift"})),
                             (gone, "run.json", "{}"), (gone, "pruned", ""), ("2026-11-27", "run.json", "{}")]:
        place = copied / "_runs" / date
        place.mkdir(exist_ok=True)
        (place / name).write_text(text)
    connection = duckdb.connect()
    connection.execute(lake.script_for(copied))
    rows = connection.execute("SELECT snapshot_date::VARCHAR, state, gap, why, lines, cost_usd FROM nights").fetchall()
    assert [row[0] for row in rows] == [str(day.date()) for day in dates_between(DATES[0], "2026-11-27")]
    found = {row[0]: row[1:] for row in rows}
    assert [found[date][:3] for date in [held, gone, "2026-11-26", "2026-11-27"]] == [
        ("held", None, "drift"), ("pruned", None, None), ("missing", None, None), ("open", None, None)]
    assert [found[date][:2] for date in DATES] == [("published", None), ("published", 43), ("published", 38)]
    assert [found[date][3:] for date in DATES] == [
        (len(night.lines), sum(decimal.Decimal(str(cost)) for cost in night.cost)) for night in lake.nights]


def dates_between(first, last):
    """The dates from the first to the last."""
    day, end = map(datetime.datetime.fromisoformat, (first, last))
    while day <= end:
        yield day
        day += datetime.timedelta(days=1)


def test_the_history_of_a_page_has_each_night_on_which_it_has_one(lake):
    truth = []
    for target in {target for night in lake.nights for target in night.pages}:
        rows = [(night.date, night.pages[target]) for night in lake.nights if target in night.pages]
        for before, (date, item) in zip([None, *rows], rows):
            change = before and item["backlinks"] - before[1]["backlinks"]
            truth.append((date, target, before and before[0], item["backlinks"], change))
    check(lake.rows("SELECT snapshot_date, target, previous_date, backlinks, backlinks_change FROM page_history"), truth)


def test_domains_are_the_sums_and_medians_of_their_pages(lake):
    truth = []
    for night in lake.nights:
        by_site = collections.defaultdict(list)
        for target, item in night.pages.items():
            by_site[night.asked[target]].append(item)
        for site, items in by_site.items():
            ranks = sorted(item["rank"] for item in items if item["rank"] is not None)
            median = ranks[(len(ranks) - 1) // 2] if ranks else None
            truth.append((night.date, site, len(items), sum(item["backlinks"] for item in items), median))
    check(lake.rows("SELECT snapshot_date, root_domain, pages, backlinks, rank_median FROM domains"), truth)


def test_changes_of_domains_count_the_changes_of_their_pages(lake):
    counts, sums = collections.Counter(), collections.Counter()
    for row in changes(lake.nights):
        counts[row[0], row[3], {"same": "in_both", "changed": "in_both"}.get(row[4], row[4])] += 1
        sums[row[0], row[3]] += row[7] or 0
    words = ["in_both", "new", "lost", "added", "removed", "unanswered"]
    truth = [(*key, *(counts[*key, word] for word in words), sums[key]) for key in sums]
    check(lake.rows(f"SELECT snapshot_date, root_domain, {', '.join(words)}, coalesce(backlinks_change, 0) FROM domain_changes"),
          truth)


def test_changes_of_breakdowns_are_over_the_pages_of_both_nights(lake):
    truth = []
    for before, now in zip(lake.nights, lake.nights[1:]):
        both = before.pages.keys() & now.pages.keys()
        links = collections.defaultdict(lambda: [0, 0])
        for place, night in enumerate([before, now]):
            for target in both:
                for dimension, field in MAPS.items():
                    for key, count in (night.pages[target][field] or {}).items():
                        links[dimension, key][place] += count
        for key, (then, after) in links.items():
            word = "same" if then == after else "new" if then == 0 else "gone" if after == 0 else "changed"
            truth.append((now.date, before.date, *key, word, then, after, after - then))
    check(lake.rows("SELECT snapshot_date, previous_date, dimension, key, change, links_before, links, links_change "
                    "FROM breakdown_changes"), truth)


def test_every_valid_line_has_the_fate_and_the_page_of_its_target_and_a_share_of_the_cost(lake):
    truth = []
    for night in lake.nights:
        for line in night.lines[:-1]:
            page = night.pages.get(line)
            truth.append((night.date, line, night.fate(line), page and page["backlinks"]))
    check(lake.rows("SELECT snapshot_date, target, fate, backlinks FROM labelled"), truth)
    costs = lake.rows("SELECT snapshot_date, round(sum(cost_usd), 6), min(cost_usd) FILTER (fate = 'returned') > 0 "
                      "FROM labelled GROUP BY ALL")
    check(costs, [(night.date, sum(decimal.Decimal(str(cost)) for cost in night.cost), True) for night in lake.nights])


def test_labels_count_a_page_once_and_a_shared_page_for_both(backlake, folder):
    source = folder / "labels.csv"
    source.write_text("url,client\nhttps://a.com/1,Acme\nhttps://a.com/1,Birch\nhttps://a.com/1,Acme\nhttps://a.com/2,Birch\n"
                      "https://b.com/3,\nno target,Acme\n")
    file = pipeline(folder, folder / "labels", source, name="labels", columns='column = "url"\nkeep = ["client"]')
    backlake("run", file, "--snapshot", DATES[0])
    connection = duckdb.connect()
    connection.execute(backlake("sql", folder / "labels"))
    backlinks = dict(connection.execute("SELECT target, backlinks FROM pages").fetchall())
    cost, = connection.execute("SELECT cost_usd FROM run_costs").fetchone()
    one, two = (backlinks.get(f"https://a.com/{n}") for n in (1, 2))
    each = cost / 3
    labels = connection.execute("SELECT label, lines, pages, backlinks, cost_usd FROM label_daily WHERE label <> '' "
                                "ORDER BY label").fetchall()
    assert [row[:2] for row in labels] == [("Acme", 2), ("Birch", 2)]
    assert [row[2:4] for row in labels] == [(int(one is not None), one or 0),
                                            ((one is not None) + (two is not None), (one or 0) + (two or 0))]
    assert [round(row[4], 6) for row in labels] == [round(each * 2 / 3, 6), round(each / 3 + each, 6)]
    for label, pages in [("Acme", {"https://a.com/1"}), ("Birch", {"https://a.com/1", "https://a.com/2"}), ("Nobody", set())]:
        found = {row[0] for row in connection.execute(f"SELECT target FROM pages_of('client', '{label}')").fetchall()}
        assert found == pages & backlinks.keys(), label


def test_persistent_views_stay_in_a_database_file(lake, backlake, tmp_path, monkeypatch):
    script, database = backlake("sql", lake.path, "--persistent"), tmp_path / "links.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute(script)
    # Another program, in another folder.
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(database, read_only=True) as connection:
        for view in VIEWS:
            query = f"SELECT count(*), count(DISTINCT snapshot_date) FROM {view}"
            assert connection.execute(query).fetchall() == lake.connection.execute(query).fetchall(), view
        latest = "SELECT change, count(*) FROM page_changes_latest GROUP BY ALL ORDER BY ALL"
        assert connection.execute(latest).fetchall() == lake.connection.execute(latest).fetchall()
        assert partitions_read(connection, "SELECT sum(links) FROM breakdowns_latest") == {f"snapshot_date={DATES[2]}"}
    with duckdb.connect(database) as connection:
        connection.execute(script)


@pytest.mark.parametrize(("query", "nights"), [
    (f"SELECT sum(backlinks) FROM pages WHERE snapshot_date = DATE '{DATES[0]}'", [0]),
    (f"SELECT sum(links) FROM breakdowns WHERE snapshot_date < DATE '{DATES[2]}'", [0, 1]),
    ("SELECT sum(backlinks) FROM pages_latest", [2]),
    ("SELECT sum(links) FROM breakdowns_latest", [2]),
    ("SELECT count(labels) FROM targets_latest", [2]),
    ("SELECT sum(backlinks_change) FROM page_changes_latest", [1, 2]),
    ("SELECT count(*) FROM page_changes_latest WHERE root_domain = 'site7.com'", [1, 2]),
    (f"SELECT sum(backlinks_change) FROM page_changes WHERE snapshot_date = '{DATES[1]}'", [0, 1]),
    (f"SELECT change, count(*) FROM page_changes WHERE snapshot_date = '{DATES[2]}' GROUP BY ALL", [1, 2]),
    ("SELECT sum(cost_usd) FROM run_costs", []),
    (f"SELECT count(*) FROM domain_changes WHERE snapshot_date = '{DATES[1]}'", [0, 1]),
    (f"SELECT count(*) FROM breakdown_changes WHERE snapshot_date = '{DATES[1]}'", [0, 1]),
    (f"SELECT count(backlinks), sum(cost_usd) FROM labelled WHERE snapshot_date = '{DATES[1]}'", [1]),
    (f"SELECT count(*) FROM label_daily WHERE snapshot_date = '{DATES[1]}'", [1]),
    (f"SELECT count(*) FROM domains WHERE snapshot_date = '{DATES[1]}'", [1]),
])
def test_a_condition_on_the_date_opens_only_the_files_of_those_dates(lake, query, nights):
    assert partitions_read(lake.connection, query) == {f"snapshot_date={DATES[night]}" for night in nights}


@pytest.mark.parametrize("condition", [
    "root_domain = 'site7.com'",
    "target = 'https://site7.com/3'",
    "root_domain = 'site7.com' AND change = 'lost'",
    "target LIKE 'https://site7.com/%'",
])
@pytest.mark.parametrize("view", ["page_changes", "page_changes_latest"])
def test_a_condition_on_the_target_or_its_root_domain_is_applied_where_rows_are_read(lake, view, condition):
    # Row groups whose statistics or Bloom filters exclude the condition are skipped only then.
    named = re.sub(r" AND change.*", "", condition)
    # Each row can be read for two nights, and its target's line, too.
    most = 4 * lake.rows(f"SELECT count(*) FROM targets WHERE {named}")[0][0]
    assert 0 < most < 1000, most
    read = rows_read(lake.connection, f"SELECT count(*), sum(backlinks_change) FROM {view} WHERE {condition}")
    assert 0 < read <= most, (read, most)


def test_files_that_a_query_does_not_need_may_be_damaged(lake, copied):
    for file in copied.glob(f"*/snapshot_date={DATES[0]}/*"):
        file.write_bytes(b"no Parquet")
    connection = duckdb.connect()
    connection.execute(lake.script_for(copied))
    for name in ["pages_latest", "breakdowns_latest", "targets_latest", "page_changes_latest",
                 f"page_changes WHERE snapshot_date = '{DATES[2]}'", "run_costs"]:
        query = f"SELECT count(*) FROM {name}"
        assert connection.execute(query).fetchall() == lake.connection.execute(query).fetchall(), name


def test_an_older_contract_may_have_fewer_columns(lake, copied):
    manifest = manifest_of(copied, DATES[0])
    manifest["tables"]["pages"]["contract"] = "pages.v0"
    del manifest["generation"]
    pathlib.Path(copied, f"_snapshots/{DATES[0]}.json").write_text(json.dumps(manifest))
    for file in manifest["tables"]["pages"]["files"]:
        rows = pq.read_table(copied / file["path"], partitioning=None)
        pq.write_table(rows.drop_columns(["rank"]), copied / file["path"])
    connection = duckdb.connect()
    connection.execute(lake.script_for(copied))
    query = "SELECT count(*), count(rank), sum(backlinks) FROM pages GROUP BY snapshot_date ORDER BY snapshot_date"
    found, truth = connection.execute(query).fetchall(), lake.connection.execute(query).fetchall()
    assert found == [(truth[0][0], 0, truth[0][2]), *truth[1:]], found
    assert connection.execute("SELECT min(generation) FROM run_costs").fetchone() == (1,)


def test_a_session_keeps_its_snapshots_until_the_script_is_run_again(lake, copied, tmp_path):
    manifest = copied / f"_snapshots/{DATES[2]}.json"
    away = manifest.rename(tmp_path / "away.json")
    connection = duckdb.connect()
    connection.execute(lake.script_for(copied))
    latest = "SELECT max(snapshot_date)::VARCHAR, count(DISTINCT snapshot_date) FROM pages"
    assert connection.execute(latest).fetchone() == (DATES[1], 2)
    away.rename(manifest)
    assert connection.execute(latest).fetchone() == (DATES[1], 2)
    connection.execute(lake.script_for(copied))
    assert connection.execute(latest).fetchone() == (DATES[2], 3)


def test_the_documented_loader_loads_what_the_manifests_name_and_that_once(lake):
    document = (ROOT / "docs/lake.md").read_text()
    code, = re.findall(r"^```python\n(import hashlib.*?)^```$", document, re.DOTALL | re.MULTILINE)
    scope, loaded, rows = {}, {}, collections.Counter()
    exec(code, scope)

    def load(name, date, contract, files):
        assert contract == f"{name}.v1", contract
        rows[name, date] += sum(pq.read_metadata(file).num_rows for file in files)

    for _ in range(2):
        scope["load_new"](lake.path, loaded, load)
    truth = {(name, date): count for name in TABLES
             for date, count in lake.rows(f"SELECT snapshot_date, count(*) FROM {name} GROUP BY ALL")}
    assert rows == truth and set(loaded) == set(DATES), (rows, truth)
