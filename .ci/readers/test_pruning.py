"""What the order of the rows and the Bloom filters are worth: rows looked up in many nights, beside DuckDB's files.

The same rows are written by DuckDB (`COPY … (FORMAT parquet, COMPRESSION zstd)`) in the order in which responses arrive.
DuckDB then reads both lakes through a file system that records every read, and each read is compared with the files'
footers: row groups, Bloom filters, and metadata. `--full` takes 30 nights of 300,000 targets instead of 3. Fewer targets
would show less: the fewer rows a site has, the less they have in common.
"""

import datetime
import os
import pathlib
import random
import statistics
import threading
import time

import duckdb
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractFileSystem

from lakes import parquet, pipeline, write_lines

TARGETS, LOOKUPS = 300_000, 12
# The promises. In breakdowns, the rows of an item may continue in the next row group, and one of some thirty filters in a
# night may let a row group pass that does not have the target.
ROW_GROUPS_PER_NIGHT = {"pages": 1, "breakdowns": 3}
SIZE = {"pages": 0.9, "breakdowns": 0.9}
COLUMNS = {"pages": "backlinks, rank, referring_links_tld", "breakdowns": "dimension, key, links"}
# What else is asked of breakdowns: how many links by key, of all pages or of a root domain.
DIMENSION = "SELECT snapshot_date, key, sum(links) FROM {0} WHERE dimension = 'country'%s GROUP BY ALL ORDER BY ALL"
WORDS = (
    "backlink profile nightly guide review best top news travel garden recipe winter summer city music film phone laptop price "
    "cheap build learn data lake spark table engine rust python river mountain health sleep work home office paper photo video "
    "stream cloud market trade bank invest green solar energy motor bike train hotel flight island coast north south history"
).split()


def make_targets(count):
    """Pages and domains as real lists have them: few large sites and many small ones, slugs, years, numbers."""
    draw = random.Random(7)
    sites, found = set(), set()
    while len(sites) < 12_000:
        end = draw.choice([".com"] * 6 + [".org", ".net", ".de", ".co.uk"])
        sites.add("-".join(draw.sample(WORDS, draw.choice([1, 2, 2, 3]))) + end)
    sites = sorted(sites)
    draw.shuffle(sites)
    weights = [1 / (at + 10) ** 0.8 for at in range(len(sites))]
    while len(found) < count:
        for site in draw.choices(sites, weights, k=10_000):
            host = draw.choice(["www.", "www.", "", "blog.", "shop."]) + site
            word, slug = draw.choice(WORDS), draw.sample(WORDS, 4)
            found.add(draw.choice([
                f"https://{host}/{word}/{'-'.join(slug)}-{draw.randrange(10**6)}",
                f"https://{host}/{draw.randrange(2015, 2027)}/{draw.randrange(1, 13):02}/{'-'.join(slug)}/",
                f"https://{host}/{word}/{slug[0]}-{slug[1]}.html?id={draw.randrange(10**7)}",
                f"https://{host}/{word}/{slug[2]}",
                site,
            ]))
    found = sorted(found)
    draw.shuffle(found)
    return found[:count]


class RecordedFile:
    """A file. DuckDB seeks and reads in several threads at once, so each thread has its own position."""

    def __init__(self, path, reads):
        self.path, self.reads, self.file, self.position = path, reads, os.open(path, os.O_RDONLY), threading.local()

    def tell(self):
        return getattr(self.position, "at", 0)

    def seek(self, at, whence=0):
        self.position.at = {0: 0, 1: self.tell(), 2: os.fstat(self.file).st_size}[whence] + at

    def read(self, length=-1):
        at = self.tell()
        got = os.pread(self.file, os.fstat(self.file).st_size if length < 0 else length, at)
        self.reads.append((self.path, at, len(got)))
        self.position.at = at + len(got)
        return got

    def close(self):
        os.close(self.file)


class Recording(AbstractFileSystem):
    """Local files, and a list of every read."""

    protocol = "recorded"
    cachable = False

    def __init__(self):
        super().__init__()
        self.reads = []

    def local(self, path):
        return path.removeprefix("recorded://")

    def open(self, path, mode="rb", **options):
        return RecordedFile(self.local(path), self.reads)

    def glob(self, path, **options):
        folder, pattern = self.local(path).split("/*", 1)
        return sorted(str(file) for file in pathlib.Path(folder).glob("*" + pattern))

    def info(self, path, **options):
        return {"name": self.local(path), "size": os.path.getsize(self.local(path)), "type": "file"}

    def size(self, path):
        return os.path.getsize(self.local(path))

    def modified(self, path):
        return datetime.datetime.fromtimestamp(os.path.getmtime(self.local(path)))

    def exists(self, path, **options):
        return os.path.exists(self.local(path))


def overlap(start, end, other_start, other_end):
    """How many bytes two ranges share."""
    return max(0, min(end, other_end) - max(start, other_start))


class Files:
    """A table's files: where row groups and Bloom filters lie in each."""

    def __init__(self, lake, table, night="*"):
        self.lake, self.table_name = lake, table
        self.ranges = {}
        self.rows = self.row_groups = self.bytes = self.bloom_bytes = 0
        for file in sorted(pathlib.Path(lake, table).glob(f"{night}/*.parquet")):
            footer = pq.read_metadata(file)
            blooms = duckdb.connect().execute(
                f"SELECT bloom_filter_offset, bloom_filter_length FROM parquet_metadata('{file}') "
                f"WHERE bloom_filter_length > 0"
            ).fetchall()
            chunks = []
            for number in range(footer.num_row_groups):
                group = footer.row_group(number)
                for column in map(group.column, range(group.num_columns)):
                    start = column.dictionary_page_offset or column.data_page_offset
                    chunks.append((start, start + column.total_compressed_size, number))
            self.ranges[str(file)] = ([(at, at + length) for at, length in blooms], chunks)
            self.rows += footer.num_rows
            self.row_groups += footer.num_row_groups
            self.bytes += file.stat().st_size
            self.bloom_bytes += sum(length for _, length in blooms)

    def touched(self, reads):
        """What reads have touched: row groups by night, and bytes of data, Bloom filters and metadata."""
        groups, data, bloom, total = {}, 0, 0, 0
        for name, at, length in reads:
            blooms, chunks = self.ranges[name]
            total += length
            bloom += sum(overlap(at, at + length, start, end) for start, end in blooms)
            for start, end, number in chunks:
                shared = overlap(at, at + length, start, end)
                data += shared
                if shared:
                    groups.setdefault(pathlib.Path(name).parent.name, set()).add((name, number))
        return {night: len(numbers) for night, numbers in groups.items()}, data, bloom, total - data - bloom

    def ask(self, query, parameters):
        """Asks twice: recorded, and for the seconds of CPU."""
        recording, connection = Recording(), duckdb.connect()
        connection.register_filesystem(recording)
        found = connection.execute(query.format(parquet(f"recorded://{self.lake}", self.table_name)), parameters).fetchall()
        start = time.process_time()
        again = duckdb.connect().execute(query.format(parquet(self.lake, self.table_name)), parameters).fetchall()
        seconds = time.process_time() - start
        assert found == again
        return found, seconds, *self.touched(recording.reads)

    def look_up(self, target):
        """Looks a target up."""
        query = f"SELECT snapshot_date, {COLUMNS[self.table_name]} FROM {{0}} WHERE target = $1 ORDER BY ALL"
        return self.ask(query, [target])


class Nights:
    """The nights, by the binary, and by DuckDB from the same rows."""

    def __init__(self, backlake, folder, count):
        self.lake, self.by_duckdb, self.count = folder / "lake", folder / "duckdb", count
        self.targets, self.seconds, self.json_bytes = make_targets(TARGETS), [], 0
        file = pipeline(folder, self.lake, write_lines(folder / "targets.txt", self.targets), name="pruning")
        connection = duckdb.connect()
        for night in range(count):
            date = (datetime.date(2026, 10, 25) + datetime.timedelta(night)).isoformat()
            report = backlake.report("run", file, "--snapshot", date, "-q")
            assert report["state"] == "published", report
            self.seconds.append(report["seconds"])
            bodies = connection.execute(
                f"SELECT sum(body_bytes)::BIGINT FROM '{self.lake}/requests/snapshot_date={date}/*.parquet'")
            self.json_bytes += bodies.fetchone()[0]
            # One night of breakdowns is enough to compare sizes.
            for table in ["pages", "breakdowns"][: 2 if night == 0 else 1]:
                out = self.by_duckdb / table / f"snapshot_date={date}"
                out.mkdir(parents=True)
                # As responses arrive: an item's rows together, items in no order.
                order = "hash(target, request_id)" if table == "pages" else "hash(target), dimension"
                connection.execute(
                    f"COPY (SELECT * FROM read_parquet('{self.lake}/{table}/snapshot_date={date}/*.parquet', "
                    f"hive_partitioning = false) ORDER BY {order}) "
                    f"TO '{out}/data.parquet' (FORMAT parquet, COMPRESSION zstd)"
                )


@pytest.fixture(scope="module")
def nights(backlake, folder, pytestconfig):
    return Nights(backlake, folder, 30 if pytestconfig.getoption("full") else 3)


@pytest.fixture(scope="module")
def size_ratios(nights, measured):
    """The bytes of each table as a share of those that DuckDB writes."""
    ratios = {}
    lines = [f"pruning: {nights.count} nights of {TARGETS:,} targets, {statistics.median(nights.seconds):.1f} s each",
             f"{'bytes per row':<16}{'backlake':>10}{'DuckDB':>10}{'ratio':>8}   of which Bloom filters"]
    for table in ["pages", "breakdowns"]:
        theirs = Files(nights.by_duckdb, table)
        ours = Files(nights.lake, table, "*" if table == "pages" else next(os.scandir(nights.by_duckdb / table)).name)
        assert ours.rows == theirs.rows
        ratios[table] = ours.bytes / theirs.bytes
        lines.append(f"{table:<16}{ours.bytes / ours.rows:>10.1f}{theirs.bytes / ours.rows:>10.1f}{ratios[table]:>8.3f}"
                     f"{ours.bloom_bytes / ours.rows:>10.1f}")
        if table == "pages":
            lines.append(f"{'JSON responses':<16}{nights.json_bytes / ours.rows:>10.1f}")
    measured("\n".join(lines))
    return ratios


@pytest.fixture(scope="module", params=["pages", "breakdowns"])
def most_row_groups(nights, measured, request):
    """The most row groups that a look-up in a table reads in a night; both lakes give the same rows."""
    table = request.param
    files = {"backlake": Files(nights.lake, table), "DuckDB": Files(nights.by_duckdb, table)}
    most, sums = 0, {name: [] for name in files}
    step = len(nights.targets) // (LOOKUPS - 1)
    for target in [*nights.targets[::step][: LOOKUPS - 1], "https://www.not-a-target.com/nowhere"]:
        rows = {}
        for name in files:
            rows[name], seconds, groups, data, bloom, rest = files[name].look_up(target)
            sums[name].append((sum(groups.values()), data, bloom, rest, seconds))
            if name == "backlake":
                most = max([most, *groups.values()])
        # DuckDB wrote one night of breakdowns.
        first = min((row[0] for row in rows["backlake"]), default=None)
        assert [row for row in rows["backlake"] if table == "pages" or row[0] == first] == rows["DuckDB"], target
    medians = {name: [statistics.median(column) for column in zip(*sums[name])] for name in files}
    lines = [f"{LOOKUPS} look-ups of a target in {table} of {nights.count} nights (DuckDB: of 1 night of breakdowns), the medians:",
             f"{'':<10}{'row groups':>11}{'of':>6}{'data':>13}{'Bloom':>13}{'metadata':>13}{'CPU':>11}"]
    for name, (groups, data, bloom, rest, seconds) in medians.items():
        lines.append(f"{name:<10}{groups:>11.0f}{files[name].row_groups:>6}{data:>11,.0f} B{bloom:>11,.0f} B{rest:>11,.0f} B"
                     f"{seconds * 1000:>8.0f} ms")
    measured("\n".join(lines))
    return table, most


@pytest.fixture(scope="module")
def dimensions(nights, measured):
    """The row groups that are read for one dimension, of all pages and of one root domain; all there are comes last."""
    files = Files(nights.lake, "breakdowns")
    domain, = duckdb.sql(f"SELECT mode(root_domain) FROM {parquet(nights.lake, 'pages')}").fetchall()[0]
    lines, read = [f"one dimension in {nights.count} nights:"], []
    for of, condition, parameters in [("all pages", "", []), (domain, " AND root_domain = $1", [domain])]:
        found, seconds, groups, data, bloom, rest = files.ask(DIMENSION % condition, parameters)
        assert found
        read.append(sum(groups.values()))
        lines.append(f"{'of ' + of:<40}{read[-1]:>5} of {files.row_groups} row groups{data + bloom + rest:>13,.0f} B"
                     f"{seconds * 1000:>8.0f} ms of CPU")
    measured("\n".join(lines))
    return *read, files.row_groups


@pytest.mark.parametrize("table", SIZE)
def test_a_table_takes_at_most_nine_tenths_of_the_bytes_that_duckdb_writes(size_ratios, table):
    assert size_ratios[table] <= SIZE[table], size_ratios


def test_a_look_up_reads_few_row_groups_per_night(most_row_groups):
    table, most = most_row_groups
    assert most <= ROW_GROUPS_PER_NIGHT[table]


def test_a_dimension_of_a_root_domain_reads_only_its_row_groups(dimensions):
    _, of_domain, row_groups = dimensions
    assert of_domain <= row_groups / 4
