"""What the order of the rows and the Bloom filters are worth: one target looked up in many nights, beside DuckDB's own files.

The same rows are written by DuckDB (`COPY … (FORMAT parquet, COMPRESSION zstd)`) in the order in which answers arrive, and both
lakes are read by DuckDB through a file system that records every read. A read is laid over the files' footers: row groups,
Bloom filters, and metadata. `--full` takes 30 nights of 300,000 targets; without it 3 do: the fewer rows of a site, the less they have in common.
"""

import datetime
import json
import os
import pathlib
import random
import statistics
import sys
import tempfile
import threading
import time

import duckdb
import pyarrow.parquet as pq
from fsspec.spec import AbstractFileSystem

from lakes import backlake, pipeline

FULL = "--full" in sys.argv
NIGHTS, TARGETS = 30 if FULL else 3, 300_000
LOOKUPS = 12
# What is promised.
ROW_GROUPS_A_NIGHT, SIZE = 1, 0.9
WORDS = (
    "backlink profile nightly guide review best top news travel garden recipe winter summer city music film phone laptop price "
    "cheap build learn data lake spark table engine rust python river mountain health sleep work home office paper photo video "
    "stream cloud market trade bank invest green solar energy motor bike train hotel flight island coast north south history"
).split()


def targets(count):
    """Pages and domains as lists have them: few large sites and many small ones, slugs, years, numbers."""
    draw = random.Random(7)
    sites, found = set(), set()
    while len(sites) < 12_000:
        sites.add("-".join(draw.sample(WORDS, draw.choice([1, 2, 2, 3]))) + draw.choice([".com"] * 6 + [".org", ".net", ".de", ".co.uk"]))
    sites = sorted(sites)
    draw.shuffle(sites)
    weights = [1 / (at + 10) ** 0.8 for at in range(len(sites))]
    while len(found) < count:
        for site in draw.choices(sites, weights, k=10_000):
            host, word, slug = draw.choice(["www.", "www.", "", "blog.", "shop."]) + site, draw.choice(WORDS), draw.sample(WORDS, 4)
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
    """One file. DuckDB seeks and reads in several threads at once, so each has a place of its own."""

    def __init__(self, path, reads):
        self.path, self.reads, self.file, self.place = path, reads, os.open(path, os.O_RDONLY), threading.local()

    def tell(self):
        return getattr(self.place, "at", 0)

    def seek(self, at, whence=0):
        self.place.at = {0: 0, 1: self.tell(), 2: os.fstat(self.file).st_size}[whence] + at

    def read(self, length=-1):
        at = self.tell()
        got = os.pread(self.file, os.fstat(self.file).st_size if length < 0 else length, at)
        self.reads.append((self.path, at, len(got)))
        self.place.at = at + len(got)
        return got

    def close(self):
        os.close(self.file)


class Recording(AbstractFileSystem):
    """Local files whose every read is written down."""

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


class Files:
    """A table's files: where row groups and Bloom filters lie in each."""

    def __init__(self, folder, night="*"):
        self.folder = folder
        self.ranges = {}
        self.rows = self.row_groups = self.bytes = self.bloom_bytes = 0
        for file in sorted(pathlib.Path(folder).glob(f"{night}/*.parquet")):
            footer = pq.read_metadata(file)
            blooms = duckdb.connect().execute(
                f"SELECT bloom_filter_offset, bloom_filter_length FROM parquet_metadata('{file}') WHERE bloom_filter_length > 0"
            ).fetchall()
            groups = []
            for number in range(footer.num_row_groups):
                group = footer.row_group(number)
                for column in map(group.column, range(group.num_columns)):
                    start = column.dictionary_page_offset or column.data_page_offset
                    groups.append((start, start + column.total_compressed_size, number))
            self.ranges[str(file)] = ([(at, at + length) for at, length in blooms], groups)
            self.rows += footer.num_rows
            self.row_groups += footer.num_row_groups
            self.bytes += file.stat().st_size
            self.bloom_bytes += sum(length for _, length in blooms)

    def laid_over(self, reads):
        """What reads have touched: row groups by night, and bytes of data, Bloom filters and metadata."""
        groups, data, bloom, total = {}, 0, 0, 0
        for name, at, length in reads:
            blooms, chunks = self.ranges[name]
            total += length
            bloom += sum(max(0, min(at + length, end) - max(at, start)) for start, end in blooms)
            for start, end, number in chunks:
                overlap = max(0, min(at + length, end) - max(at, start))
                data += overlap
                if overlap:
                    groups.setdefault(pathlib.Path(name).parent.name, set()).add((name, number))
        return {night: len(touched) for night, touched in groups.items()}, data, bloom, total - data - bloom

    def relation(self, scheme=""):
        return f"read_parquet('{scheme}{self.folder}/*/*.parquet', hive_partitioning = true)"

    def look_up(self, target):
        """Looks a target up twice: recorded, and for its time."""
        recording, connection = Recording(), duckdb.connect()
        connection.register_filesystem(recording)
        query = "SELECT snapshot_date, backlinks, rank, referring_links_tld FROM {0} WHERE target = $1 ORDER BY ALL"
        found = connection.execute(query.format(self.relation("recorded://")), [target]).fetchall()
        start = time.monotonic()
        again = duckdb.connect().execute(query.format(self.relation()), [target]).fetchall()
        seconds = time.monotonic() - start
        assert found == again
        return found, seconds, *self.laid_over(recording.reads)


def make(folder):
    """The nights: by the binary, and by DuckDB from the same rows."""
    asked = targets(TARGETS)
    list_of_targets = pathlib.Path(folder, "targets.txt")
    list_of_targets.write_text("\n".join(asked) + "\n")
    lake, seconds, json_bytes = f"{folder}/lake", [], 0
    file = pipeline(folder, "pruning", f'paths = ["{list_of_targets}"]', lake)
    connection = duckdb.connect()
    for night in range(NIGHTS):
        date = (datetime.date(2026, 10, 25) + datetime.timedelta(night)).isoformat()
        report = json.loads(backlake("run", file, "--snapshot", date, "--output", "json", "-q"))
        assert report["state"] == "published", report
        seconds.append(report["seconds"])
        bodies = connection.execute(f"SELECT sum(body_bytes)::BIGINT FROM '{lake}/requests/snapshot_date={date}/*.parquet'")
        json_bytes += bodies.fetchone()[0]
        # The first night says enough of breakdowns.
        for table in ["pages", "breakdowns"][: 2 if night == 0 else 1]:
            out = f"{folder}/duckdb/{table}/snapshot_date={date}"
            os.makedirs(out)
            # As answers come: an item's rows together, items in no order.
            order = "hash(target, request_id)" if table == "pages" else "hash(target), dimension"
            connection.execute(
                f"COPY (SELECT * FROM read_parquet('{lake}/{table}/snapshot_date={date}/*.parquet', hive_partitioning = false) "
                f"ORDER BY {order}) TO '{out}/data.parquet' (FORMAT parquet, COMPRESSION zstd)"
            )
    print(f"{NIGHTS} nights of {TARGETS:,} targets, {statistics.median(seconds):.1f} s each")
    return lake, asked, json_bytes


def sizes(lake, folder, json_bytes):
    """Bytes a row of pages, and of breakdowns."""
    print(f"\n{'bytes a row':<14}{'backlake':>10}{'DuckDB':>10}{'ratio':>8}   of which Bloom filters")
    ratios = {}
    for table in ["pages", "breakdowns"]:
        theirs = Files(f"{folder}/duckdb/{table}")
        ours = Files(f"{lake}/{table}", "*" if table == "pages" else next(os.scandir(theirs.folder)).name)
        assert ours.rows == theirs.rows
        ratios[table] = ours.bytes / theirs.bytes
        print(f"{table:<14}{ours.bytes / ours.rows:>10.1f}{theirs.bytes / ours.rows:>10.1f}{ratios[table]:>8.3f}{ours.bloom_bytes / ours.rows:>10.1f}")
        if table == "pages":
            print(f"{'JSON answers':<14}{json_bytes / ours.rows:>10.1f}")
    return ratios


def lookups(lake, folder, asked):
    """Point look-ups in all nights, in both; returns the most row groups that one read in a night."""
    ours, theirs = Files(f"{lake}/pages"), Files(f"{folder}/duckdb/pages")
    most, sums = 0, {"backlake": [], "DuckDB": []}
    for target in [*asked[:: len(asked) // (LOOKUPS - 1)][: LOOKUPS - 1], "https://www.not-a-target.com/nowhere"]:
        answers = []
        for name, files in [("backlake", ours), ("DuckDB", theirs)]:
            found, seconds, groups, data, bloom, rest = files.look_up(target)
            sums[name].append((sum(groups.values()), data, bloom, rest, seconds))
            answers.append(found)
            if name == "backlake":
                most = max([most, *groups.values()])
        assert answers[0] == answers[1], target
    print(f"\n{LOOKUPS} look-ups of a target in {NIGHTS} nights; the median one:")
    print(f"{'':<10}{'row groups':>11}{'of':>6}{'data':>13}{'Bloom':>13}{'metadata':>13}{'time':>11}")
    medians = {}
    for name, files in [("backlake", ours), ("DuckDB", theirs)]:
        medians[name] = [statistics.median(column) for column in zip(*sums[name])]
        groups, data, bloom, rest, seconds = medians[name]
        print(f"{name:<10}{groups:>11.0f}{files.row_groups:>6}{data:>11,.0f} B{bloom:>11,.0f} B{rest:>11,.0f} B{seconds * 1000:>8.0f} ms")
    (groups, *ours_bytes, seconds), (all_groups, *their_bytes, all_seconds) = medians["backlake"], medians["DuckDB"]
    print(f"ratio: row groups {groups / all_groups:.2f}, bytes {sum(ours_bytes) / sum(their_bytes):.2f}, time {seconds / all_seconds:.2f}")
    return most


def main():
    with tempfile.TemporaryDirectory() as folder:
        lake, asked, json_bytes = make(folder)
        ratios = sizes(lake, folder, json_bytes)
        most = lookups(lake, folder, asked)
    checks = {
        f"a look-up reads at most {ROW_GROUPS_A_NIGHT} row group a night": (most, most <= ROW_GROUPS_A_NIGHT),
        f"pages takes at most {SIZE} of the bytes of DuckDB's": (round(ratios["pages"], 3), ratios["pages"] <= SIZE),
    }
    print()
    for name, (value, holds) in checks.items():
        print(f"{'ok    ' if holds else 'FAILED'}  {name}: {value}")
    failed = sum(not holds for _, holds in checks.values())
    print(f"{len(checks) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
