"""The reader matrix: what every engine reads is what the provider says, asked over HTTP and never taken from the lake.

A reader is a small class that answers the same primitive questions (`counts`, `sums`, `nulls`, `bounds`, `groups`, `rows`);
the truth is one more such class, over what the provider returned. A check is a question, and holds if both say the same.
"""

import collections
import datetime
import decimal
import pathlib
import shutil
import zlib

import chdb
import deltalake
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyspark
import pytest

from lakes import (ACCOUNT, MAPS, NUMBERS, TABLES, altered, ask_provider, charged, difference, parquet, partitions_read,
                   pipeline, stem, write_lines)

import spark_session

DATES = ["2026-11-22", "2026-11-23"]
TIMES = ["first_seen", "lost_date"]
TEXTS = ["target", "target_kind", "root_domain", "type", "url"]
FIELDS = [*TEXTS, *NUMBERS, *TIMES, *MAPS.values()]


# The target list, and the items that the provider returns for it.

def target_lines():
    """Some 5,000 lines in 130 root domains: the line as written, its canonical target, or its fate if it has none, and its
    root domain."""
    found = []
    for n in range(130):
        root = f"site{n}.{['com', 'org', 'co.uk', 'de', 'io'][n % 5]}"
        found += [(root, root, root), (f"blog.{root}", f"blog.{root}", root)]
        for page in range(36):
            scheme = "http" if page % 9 == 0 else "https"
            path = [f"page/{page}", f"caf%C3%A9/{page}", f"list?page={page}&sort=a", f"{page}/it's.html"][page % 4]
            found.append((f"{scheme}://{root}/{path}",) * 2 + (root,))
    for again in range(0, 400, 10):
        found.append((found[again + 2][0] + ("#top" if "://" in found[again + 2][0] else ""), "duplicate", None))
    found += [(bad, "invalid", None) for bad in ["nonsense", "https://", "https://exa mple.com/", "ftp://example.com/x"]]
    return found


def alter(item):
    """Turns some of the simulator's items, in every partition, into other kinds of items that the provider may send."""
    draw = zlib.crc32(item["url"].encode()) % 40
    if draw == 0 and item["referring_links_platform_types"]:
        item["referring_links_platform_types"] = dict.fromkeys(item["referring_links_platform_types"]) | {"": 7}
    elif draw == 1:
        item["referring_links_semantic_locations"] = {}
    elif draw == 2:
        item["referring_links_tld"] = {"рф": 3, 'a"b': 2, "it's": 1, "line\nbreak": 1, " ": 1}
    elif draw == 3:
        item["rank"] = item["backlinks"] = item["referring_ips"] = None
    elif draw == 4:
        item["backlinks"] = 2**53 + 1
    elif draw == 5:
        item["lost_date"] = "1969-12-31 23:59:59 +00:00"
    elif draw == 6:
        item["type"] = None
        item["referring_links_countries"] = None
    elif draw == 7:
        item["a_field_that_no_contract_knows"] = [1]


def micros(text):
    """The provider's time as microseconds since 1970 in UTC."""
    return text and int(datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").timestamp()) * 1_000_000


class Truth:
    """The four tables as they follow from the provider's items."""

    def __init__(self):
        self.tables = {table: [] for table in TABLES}
        self.answers = {}

    def learn(self, date, provider, source, null_maps):
        """Adds a date; without `null_maps` a null map is an empty one, as for readers that have no null maps."""
        known = {}
        for _, target, root in target_lines():
            if root:
                known[stem(target)] = (target, root)
        by_root = collections.defaultdict(list)
        for target, root in known.values():
            by_root[root].append(target)
        returned = set()
        for item in ask_provider(provider, by_root):
            target, root = known[stem(item["url"])]
            returned.add(target)
            row = {"snapshot_date": date, "matched": True, "fetched_at": 0, "request_id": "", **item}
            row["extra"] = "{}" if "a_field_that_no_contract_knows" in item else None
            row |= {"target": target, "root_domain": root}
            row["target_kind"] = "page" if "://" in target else "domain" if target == root else "subdomain"
            for field in TIMES:
                row[field] = micros(item[field])
            for dimension, field in MAPS.items():
                entries = item[field] and list(item[field].items())
                row[field] = None if item[field] is None and null_maps else tuple(entries or ())
                for key, links in entries or []:
                    where = {"snapshot_date": date, "target": target, "root_domain": root}
                    self.tables["breakdowns"].append(where | {"dimension": dimension, "key": key, "links": links})
            self.tables["pages"].append(row)
        for number, (written, target, root) in enumerate(target_lines(), 2):
            fate = target if not root else "returned" if target in returned else "absent"
            row = {"snapshot_date": date, "source": str(source), "line": number, "input": written, "fate": fate}
            self.tables["targets"].append(row | {"labels": (("client", f"client {number % 7}"),)})
        for cost in charged(provider):
            row = {"snapshot_date": date, "cost_usd": decimal.Decimal(str(cost)), "charged": "yes"}
            self.tables["requests"].append(row)

    def counts(self, table):
        return dict(collections.Counter(row["snapshot_date"] for row in self.tables[table]))

    def sums(self, table, columns):
        return {name: sum(row[name] for row in self.tables[table] if row[name] is not None) for name in columns}

    def nulls(self, table, columns):
        return {name: sum(row[name] is None for row in self.tables[table]) for name in columns}

    def bounds(self, table, columns):
        values = {name: [row[name] for row in self.tables[table] if row[name] is not None] for name in columns}
        return {name: (min(values[name]), max(values[name])) for name in columns}

    def groups(self, table, key, measure):
        found = collections.defaultdict(lambda: (0, 0))
        for row in self.tables[table]:
            rows, total = found[row["snapshot_date"], row[key]]
            found[row["snapshot_date"], row[key]] = (rows + 1, total + (row[measure] or 0))
        return dict(found)

    def rows(self, table, columns):
        return sorted((tuple(row[name] for name in ["snapshot_date", *columns]) for row in self.tables[table]), key=repr)


# The readers.

def plain(value):
    """Dates as text, maps as pairs in their order, whichever type a reader has for them."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return tuple(value.items())
    if isinstance(value, list):
        return tuple(tuple(entry.values()) if isinstance(entry, dict) else tuple(entry) for entry in value)
    return value


class Sql:
    """A reader with SQL. Engines differ in how to name a table, a time's microseconds and a map's entries."""

    null_maps = True
    micros = "epoch_us({0})"
    entries = "{0}"

    def __init__(self, lake):
        self.lake = lake

    def select(self, what, table, rest=""):
        rows = self.query(f"SELECT {what} FROM {self.relation(table)} {rest}")
        return [tuple(plain(value) for value in row) for row in rows]

    def shown(self, name):
        if name in TIMES:
            return self.micros.format(name)
        return self.entries.format(name) if name in [*MAPS.values(), "labels"] else name

    def counts(self, table):
        return dict(self.select("snapshot_date, count(*)", table, "GROUP BY snapshot_date"))

    def one_row(self, table, columns, what):
        return self.select(", ".join(what.format(name) for name in columns), table)[0]

    def sums(self, table, columns):
        return dict(zip(columns, self.one_row(table, columns, "sum({0})"), strict=True))

    def nulls(self, table, columns):
        return dict(zip(columns, self.one_row(table, columns, "sum(CASE WHEN {0} IS NULL THEN 1 ELSE 0 END)"), strict=True))

    def bounds(self, table, columns):
        values = self.one_row(table, columns, f"{self.micros.format('min({0})')}, {self.micros.format('max({0})')}")
        return dict(zip(columns, zip(values[::2], values[1::2]), strict=True))

    def groups(self, table, key, measure):
        what = f"snapshot_date, {key}, count(*), coalesce(sum({measure}), 0)"
        found = self.select(what, table, f"GROUP BY snapshot_date, {key}")
        return {(date, value): (rows, total) for date, value, rows, total in found}

    def rows(self, table, columns):
        return sorted(self.select(", ".join(["snapshot_date", *map(self.shown, columns)]), table), key=repr)

    def on(self, date):
        return self.select("count(*), sum(referring_pages)", "pages", f"WHERE snapshot_date = DATE '{date}'")[0]


class DuckDb(Sql):
    name = f"DuckDB {duckdb.__version__}"

    def __init__(self, lake):
        super().__init__(lake)
        self.connection = duckdb.connect()

    def relation(self, table):
        return parquet(self.lake, table)

    def query(self, sql):
        return self.connection.execute(sql).fetchall()

    def partitions(self, date):
        sql = f"SELECT sum(backlinks) FROM {self.relation('pages')} WHERE snapshot_date = DATE '{date}'"
        return partitions_read(self.connection, sql)


class ClickHouse(Sql):
    """Its maps cannot be null: where the file has null it reads an empty map."""

    name = f"chdb {chdb.__version__}"
    null_maps = False
    micros = "toUnixTimestamp64Micro({0})"

    def relation(self, table):
        return f"file('{self.lake}/{table}/*/*.parquet', Parquet)"

    def query(self, sql):
        arrow = chdb.query(f"{sql} SETTINGS use_hive_partitioning = 1", "Arrow").bytes()
        result = pa.ipc.open_file(pa.BufferReader(arrow)).read_all()
        columns = []
        for name, column in zip(result.column_names, result.columns):
            if name == "snapshot_date" and pa.types.is_integer(column.type):
                # Dates come as numbers of days.
                column = column.cast(pa.int32()).cast(pa.date32())
            columns.append([value.decode() if isinstance(value, bytes) else value for value in column.to_pylist()])
        return list(zip(*columns))


class Spark(Sql):
    name = f"pyspark {pyspark.__version__}"
    micros = "unix_micros({0})"
    # Python would get a map without its order.
    entries = "map_entries({0})"
    session = None

    def __init__(self, lake):
        super().__init__(lake)
        Spark.session = Spark.session or spark_session.session({"spark.sql.adaptive.enabled": "false"})
        self.frames = {}

    def relation(self, table):
        # Views belong to the session, so their names tell lakes apart.
        view = f"{table}_{id(self)}"
        if table not in self.frames:
            self.frames[table] = self.session.read.parquet(f"{self.lake}/{table}")
            self.frames[table].createOrReplaceTempView(view)
        return view

    def query(self, sql):
        return [tuple(row) for row in self.session.sql(sql).collect()]

    def partitions(self, date):
        pages = self.session.read.parquet(f"{self.lake}/pages")
        frame = pages.where(f"snapshot_date = DATE '{date}'").selectExpr("sum(backlinks)")
        frame.collect()
        plan = frame._jdf.queryExecution().executedPlan()
        assert "PartitionFilters: [isnotnull(snapshot_date" in plan.toString(), plan.toString()
        scan = plan.collectLeaves().head()
        files = list(pathlib.Path(self.lake, f"pages/snapshot_date={date}").glob("*.parquet"))
        assert scan.metrics().apply("numPartitions").value() == 1, scan.toString()
        assert scan.metrics().apply("numFiles").value() == len(files)
        return {f"snapshot_date={date}"}


class PyArrow:
    name = f"pyarrow {pa.__version__}"
    null_maps = True

    def __init__(self, lake):
        self.lake = lake

    def dataset(self, table):
        # Left to itself pyarrow reads dates in paths as text.
        partitioning = ds.partitioning(pa.schema([("snapshot_date", pa.date32())]), flavor="hive")
        return ds.dataset(f"{self.lake}/{table}", partitioning=partitioning)

    def table(self, table, columns, filter=None):
        return self.dataset(table).to_table(columns=list(dict.fromkeys(["snapshot_date", *columns])), filter=filter)

    def counts(self, table):
        found = self.table(table, []).group_by("snapshot_date").aggregate([([], "count_all")])
        return {plain(row["snapshot_date"]): row["count_all"] for row in found.to_pylist()}

    def sums(self, table, columns):
        rows = self.table(table, columns)
        return {name: pc.sum(rows[name]).as_py() for name in columns}

    def nulls(self, table, columns):
        rows = self.table(table, columns)
        return {name: rows[name].null_count for name in columns}

    def bounds(self, table, columns):
        rows = self.table(table, columns)
        return {name: (pc.min(rows[name]).value, pc.max(rows[name]).value) for name in columns}

    def groups(self, table, key, measure):
        rows = self.table(table, [key, measure]).group_by(["snapshot_date", key])
        found = rows.aggregate([([], "count_all"), (measure, "sum")]).to_pylist()
        return {(plain(row["snapshot_date"]), row[key]): (row["count_all"], row[f"{measure}_sum"] or 0) for row in found}

    def rows(self, table, columns):
        rows = self.table(table, columns)
        values = [(rows[name].cast(pa.int64()) if name in TIMES else rows[name]).to_pylist()
                  for name in ["snapshot_date", *columns]]
        return sorted((tuple(map(plain, row)) for row in zip(*values)), key=repr)

    def filter(self, date):
        return ds.field("snapshot_date") == datetime.date.fromisoformat(date)

    def on(self, date):
        rows = self.table("pages", ["referring_pages"], self.filter(date))
        return (rows.num_rows, pc.sum(rows["referring_pages"]).as_py())

    def partitions(self, date):
        fragments = self.dataset("pages").get_fragments(self.filter(date))
        return {pathlib.Path(fragment.path).parent.name for fragment in fragments}


class Polars:
    name = f"polars {pl.__version__}"
    null_maps = True

    def __init__(self, lake):
        self.lake = lake

    def frame(self, table):
        return pl.scan_parquet(f"{self.lake}/{table}/**/*.parquet", hive_partitioning=True)

    def counts(self, table):
        found = self.frame(table).group_by("snapshot_date").len().collect()
        return {plain(date): rows for date, rows in found.iter_rows()}

    def sums(self, table, columns):
        return self.frame(table).select(pl.col(columns).sum()).collect().row(0, named=True)

    def nulls(self, table, columns):
        return self.frame(table).select(pl.col(columns).null_count()).collect().row(0, named=True)

    def bounds(self, table, columns):
        times = self.frame(table).select(pl.col(columns).to_physical())
        least, most = times.min().collect().row(0), times.max().collect().row(0)
        return dict(zip(columns, zip(least, most), strict=True))

    def groups(self, table, key, measure):
        found = self.frame(table).group_by("snapshot_date", key).agg(pl.len(), pl.col(measure).sum()).collect()
        return {(plain(date), value): (rows, total) for date, value, rows, total in found.iter_rows()}

    def rows(self, table, columns):
        shown = [pl.col(name).to_physical() if name in TIMES else pl.col(name) for name in ["snapshot_date", *columns]]
        return sorted((tuple(map(plain, row)) for row in self.frame(table).select(shown).collect().iter_rows()), key=repr)

    def filtered(self, date):
        return self.frame("pages").filter(pl.col("snapshot_date") == datetime.date.fromisoformat(date))

    def on(self, date):
        return self.filtered(date).select(pl.len(), pl.col("referring_pages").sum()).collect().row(0)

    def partitions(self, date):
        plan = self.filtered(date).select(pl.col("backlinks").sum()).explain()
        return {part for part in DATES for part in [f"snapshot_date={part}"] if f"/{part}/" in plan}


class DeltaRs(PyArrow):
    """The same files, found by the Delta log and not by their folders."""

    name = f"deltalake {deltalake.__version__}"

    def dataset(self, table):
        return deltalake.DeltaTable(f"{self.lake}/{table}").to_pyarrow_dataset()


READERS = [DuckDb, PyArrow, Polars, Spark, ClickHouse, DeltaRs]

CHECKS = {
    "rows of every table and partition": lambda reader: {table: reader.counts(table) for table in TABLES},
    "pages: nulls of every column": lambda reader: reader.nulls(
        "pages", [*FIELDS, "matched", "fetched_at", "request_id", "extra"]),
    "pages: the sum of every number": lambda reader: reader.sums("pages", NUMBERS),
    "pages: first and last times, to the microsecond": lambda reader: reader.bounds("pages", TIMES),
    "pages: every field of every row, maps entry by entry": lambda reader: reader.rows("pages", FIELDS),
    "breakdowns: rows and links of each dimension": lambda reader: reader.groups("breakdowns", "dimension", "links"),
    "breakdowns: rows and links of each key": lambda reader: reader.groups("breakdowns", "key", "links"),
    "breakdowns: nulls": lambda reader: reader.nulls(
        "breakdowns", ["target", "root_domain", "dimension", "key", "links"]),
    "targets: lines of each fate": lambda reader: reader.groups("targets", "fate", "line"),
    "targets: every line with its labels": lambda reader: reader.rows(
        "targets", ["source", "line", "input", "fate", "labels"]),
    "requests: cost to the last digit": lambda reader: reader.groups("requests", "charged", "cost_usd"),
}


class Lake:
    """A lake of two dates, and its truth: with null maps, and as readers see it that have none."""

    def __init__(self, backlake, folder, name, lake_keys=""):
        self.path, self.truths = folder / name, {True: Truth(), False: Truth()}
        rows = [f"{line},client {number % 7}" for number, (line, _, _) in enumerate(target_lines(), 2)]
        source = write_lines(folder / "targets.csv", ["url,client", *rows])
        for date in DATES:
            with backlake.simulator(date) as simulator, altered(simulator, alter) as provider:
                file = pipeline(folder, self.path, source, name=name, base_url=provider, lake_keys=lake_keys,
                                columns='column = "url"\nkeep = ["client"]')
                report = backlake.report("run", file, "--snapshot", date, env=ACCOUNT)
                assert report["state"] == "published", report
                for null_maps, truth in self.truths.items():
                    truth.learn(date, provider, source, null_maps)
        # The checks have something to find: null and empty maps, null and large values, empty and odd keys, every fate.
        pages, breakdowns, targets = (self.truths[True].tables[table] for table in ["pages", "breakdowns", "targets"])
        assert len(pages) > 9_000 and {None, ()} <= {row["referring_links_semantic_locations"] for row in pages}
        assert {None, 2**53 + 1} <= {row["backlinks"] for row in pages} and None in {row["links"] for row in breakdowns}
        assert {"", " ", "рф", "line\nbreak"} <= {row["key"] for row in breakdowns}
        assert len({row["fate"] for row in targets}) == 4

    def truth(self, check, null_maps):
        """What a check must find, computed once for all readers."""
        truth = self.truths[null_maps]
        if check not in truth.answers:
            truth.answers[check] = CHECKS[check](truth)
        return truth.answers[check]


@pytest.fixture(scope="module")
def plain_lake(backlake, folder):
    return Lake(backlake, folder, "lake")


@pytest.fixture(scope="module")
def delta_lake(backlake, folder):
    """The same lake with a Delta log."""
    return Lake(backlake, folder, "delta", 'table_formats = ["delta"]')


@pytest.fixture(scope="module", params=READERS, ids=lambda reader: reader.name)
def reader_class(request):
    return request.param


@pytest.fixture(scope="module")
def lake(reader_class, request):
    return request.getfixturevalue("delta_lake" if reader_class is DeltaRs else "plain_lake")


@pytest.fixture(scope="module")
def reader(reader_class, lake):
    return reader_class(lake.path)


@pytest.mark.parametrize("check", CHECKS)
def test_a_reader_reads_what_the_provider_says(reader, lake, check):
    problem = difference(CHECKS[check](reader), lake.truth(check, reader.null_maps))
    assert not problem, problem


def test_a_filter_on_the_date_reads_one_partition(reader_class, lake, tmp_path):
    """The engine says so, and it works with the other partition damaged."""
    first, second = DATES
    reader = reader_class(lake.path)
    values = [row["referring_pages"] for row in lake.truths[True].tables["pages"] if row["snapshot_date"] == first]
    expected = (len(values), sum(values))
    assert tuple(reader.on(first)) == expected
    if hasattr(reader, "partitions"):
        for date in DATES:
            assert reader.partitions(date) == {f"snapshot_date={date}"}
    damaged = shutil.copytree(lake.path, tmp_path / "damaged")
    for file in pathlib.Path(damaged, f"pages/snapshot_date={second}").glob("*.parquet"):
        file.write_bytes(b"no Parquet" * (file.stat().st_size // 10))
    reader = reader_class(damaged)
    assert tuple(reader.on(first)) == expected
    with pytest.raises(Exception):
        reader.on(second)
