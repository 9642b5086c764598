"""Iceberg tables and DuckLake catalogs of a lake, in the hands of their readers: DuckDB, pyiceberg, polars, Spark,
DuckLake in a DuckDB file, in SQLite and in PostgreSQL. After each change of the lake, every one of them reads what the manifests list.

What the Parquet files contain is compared with the provider's responses in test_matrix.
"""

import json
import pathlib
import re
import shutil
import subprocess

import duckdb
import pytest

from lakes import ROOT, SCRIPTS, TABLES, difference, manifest_of, pipeline, write_lines

from facts import facts

FIRST, SECOND, THIRD = "2026-11-22", "2026-11-23", "2026-11-24"
CATALOGS = ["file", "sqlite", "postgres"]
LINES = [line for n in range(300) for line in (f"site{n}.com", f"https://page{n % 70}.org/some/long/path/to/a/page/{n}")]
FORMATS = 'table_formats = ["delta", "iceberg"]'


class Lake:
    """A lake with tables of all formats, on disk or on the S3 server."""

    def __init__(self, backlake, tables_python, folder, s3=None, bucket=None):
        self.backlake, self.python, self.folder, self.s3, self.bucket = backlake, tables_python, folder, s3, bucket
        self.url = f"s3://{bucket}/team/links" if s3 else str(folder / "lake")
        self.env = s3.env if s3 else None
        self.targets = write_lines(folder / "targets.txt", LINES)
        self.file = self.pipeline(FORMATS)

    def pipeline(self, lake_keys, **keys):
        return pipeline(self.folder, self.url, self.targets, lake_keys=lake_keys, **keys)

    def run(self, date, *more, **options):
        return self.backlake.finish("run", self.file, "--snapshot", date, *more, env=self.env, **options)

    def manifest(self, date):
        if self.s3:
            return json.loads(self.s3.get(self.bucket, f"team/links/_snapshots/{date}.json"))
        return manifest_of(self.url, date)

    def local(self, path):
        """A file of the lake on this machine."""
        if not self.s3:
            return f"{self.url}/{path}"
        copy = self.folder / "copies" / path
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            self.s3.client.download_file(self.bucket, f"team/links/{path}", str(copy))
        return str(copy)

    def truth(self, dates):
        """The facts of all tables, from the files that the manifests list."""
        manifests = [self.manifest(date) for date in dates]
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        found = {}
        for name in TABLES:
            files = [self.local(file["path"]) for manifest in manifests for file in manifest["tables"][name]["files"]]
            found[name] = facts(connection, f"read_parquet({files}, hive_partitioning = true, union_by_name = true)")
        return found

    def scripts(self):
        """The scripts for a catalog of each kind."""
        catalogs = {"file": self.folder / "lake.ducklake", "sqlite": f"sqlite:{self.folder}/lake.sqlite",
                    "postgres": "postgres:dbname=postgres user=postgres host=POSTGRES-HOST"}
        return {kind: self.backlake("sql", self.url, "--ducklake", catalog, env=self.env) for kind, catalog in catalogs.items()}

    def ask(self, *questions, scripts=None):
        """The answers of scripts/tables.py."""
        s3 = self.s3 and {"endpoint": self.s3.endpoint, "key": self.s3.KEY, "secret": self.s3.SECRET, "region": self.s3.REGION}
        request = {"lake": self.url, "tables": TABLES, "s3": s3, "ask": questions, "postgres": str(self.folder / "postgres"),
                   "scripts": scripts or {}}
        done = subprocess.run([self.python, SCRIPTS / "tables.py"], input=json.dumps(request), capture_output=True, text=True,
                              timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def check(self, dates, catalogs=CATALOGS, engines=("duckdb", "pyiceberg", "polars"), before=(), after=(), stale=None):
        """Every reader reads these dates, and the lake is sound. Returns the answers to more questions, which are asked before
        and after that; they may use a script of an earlier time, `stale`.
        """
        self.backlake("verify", self.url, env=self.env)
        truth = self.truth(dates)
        questions = [{"engine": engine, "do": "facts"} for engine in engines]
        # The second time, a script finds nothing to do: rows would be counted twice.
        questions += [{"engine": "ducklake", "do": "facts", "script": kind} for kind in catalogs for _ in range(2)]
        answers = self.ask(*before, *questions, *after, scripts=self.scripts() | ({"stale": stale} if stale else {}))
        end = len(before) + len(questions)
        for question, answer in zip(questions, answers[len(before):end]):
            for name in TABLES:
                assert not difference(answer[name], truth[name]), (question, name)
                assert answer[name].keys() == set(dates), (question, name)
        return answers[:len(before)] + answers[end:]


@pytest.fixture(scope="module")
def lake(backlake, tables_python, folder):
    folder = folder / "disk"
    folder.mkdir()
    return Lake(backlake, tables_python, folder)


def test_every_reader_follows_each_change_of_a_lake(lake, measured):
    """Published, published again, replaced, with one column more, pruned; and then read at earlier times."""
    lake.run(FIRST)
    lake.run(SECOND)
    lake.run(SECOND)
    snapshots = {"engine": "pyiceberg", "do": "snapshots", "table": "pages"}
    version, = lake.check([FIRST, SECOND], after=[snapshots])
    assert [summary["operation"] for _, summary in version] == ["append", "append"], version
    assert version[1][1]["backlake.date"] == SECOND and version[1][1]["backlake.generation"] == "1"
    first_rows = lake.manifest(FIRST)["tables"]["pages"]["rows"]

    lake.run(SECOND, "--replace")
    # Before the replaced date was published, and after it: what is in between names files that are gone, and has expired.
    (first, _), (gone, _) = version
    rows = [{"engine": engine, "do": "rows", "table": "pages", "at": at, "may_fail": at == gone}
            for at in (first, gone) for engine in ("pyiceberg", "duckdb", "polars")]
    sql, iceberg = f"snapshot_date = DATE '{FIRST}'", f"snapshot_date == '{FIRST}'"
    scans = [{"engine": "duckdb", "do": "files", "table": "pages", "where": sql},
             {"engine": "pyiceberg", "do": "files", "table": "pages", "where": iceberg},
             {"engine": "pyiceberg", "do": "files", "table": "pages", "where": "target > 'zz'"},
             {"engine": "ducklake", "do": "files", "table": "pages", "where": sql, "script": "file"},
             # The state before the replacement, for a date that is as it was.
             {"engine": "ducklake", "do": "rows", "table": "pages", "at": 1, "where": sql, "script": "file"}]
    in_ducklake = {"engine": "ducklake", "do": "snapshots", "script": "file"}
    found, in_catalog, *answers = lake.check([FIRST, SECOND], after=[snapshots, in_ducklake, *rows, *scans])
    times, pruned = answers[:6], answers[6:]
    assert [summary["operation"] for _, summary in found] == ["append", "overwrite"], found
    # Publications and the replacement were one DuckLake snapshot each, besides the empty one of a new catalog.
    assert len(in_catalog) == 3, in_catalog
    assert times[:3] == [first_rows] * 3, times
    assert all("error" in answer for answer in times[3:]), times

    files = {name: sum(len(lake.manifest(date)["tables"][name]["files"]) for date in (FIRST, SECOND)) for name in TABLES}
    assert files["pages"] == 2 and pruned[1:3] == [[1, 2], [0, 2]], pruned
    assert pruned[0][0] == 1 and pruned[3][0] == 1, pruned
    assert pruned[4] == first_rows, pruned

    # A later contract has a column that earlier files lack.
    contract = lake.folder / "pages.v2.toml"
    text = pathlib.Path("schemas/pages.v1.toml").read_text().replace("version = 1", "version = 2", 1)
    contract.write_text(text + '\n[[column]]\nname = "novel"\ntype = "int64"\nnullable = true\nitem = "novel"\nsince = 2\nmeaning = "new"\n')
    lake.file = lake.pipeline(f'{FORMATS}\ncontracts = ["{contract}"]')
    stale = lake.scripts()["file"]
    lake.run(THIRD)
    refused, past = lake.check([FIRST, SECOND, THIRD], engines=("duckdb", "pyiceberg", "polars", "spark"), stale=stale,
                               before=[{"engine": "ducklake", "do": "facts", "script": "stale", "may_fail": True}],
                               after=[{"engine": "spark", "do": "rows", "table": "pages", "at": first}])
    assert "write it again with backlake sql --ducklake" in refused["error"], refused
    assert past == first_rows

    # A query for a date reads no file of another one: these are hidden. Without the condition, the query misses them.
    partitions = [pathlib.Path(lake.url, "pages", f"snapshot_date={date}") for date in (FIRST, SECOND)]
    for partition in partitions:
        partition.rename(partition.with_name(f"_hidden_{partition.name}"))
    of_third = f"snapshot_date = DATE '{THIRD}'"
    answers = lake.ask(*({"engine": engine, "do": "rows", "table": "pages", "may_fail": True} | condition
                         for engine in ("polars", "spark") for condition in ({"where": of_third}, {})))
    rows = lake.manifest(THIRD)["tables"]["pages"]["rows"]
    assert answers[::2] == [rows] * 2 and all("error" in answer for answer in answers[1::2]), answers
    for partition in partitions:
        partition.with_name(f"_hidden_{partition.name}").rename(partition)

    lake.backlake("prune", lake.url, "--keep-snapshots", "1", "--yes", env=lake.env)
    lake.check([THIRD])


def test_formats_that_are_switched_on_later_and_off_again_stay_up_to_date(backlake, tables_python, folder):
    folder = folder / "switched"
    folder.mkdir()
    lake = Lake(backlake, tables_python, folder)
    lake.file = lake.pipeline("")
    lake.run(FIRST)
    lake.run(SECOND)
    lake.file = lake.pipeline(FORMATS)
    lake.run(THIRD)
    lake.check([FIRST, SECOND, THIRD], ["file"])
    lake.file = lake.pipeline("")
    lake.run(SECOND, "--replace")
    lake.check([FIRST, SECOND, THIRD], ["file"])
    # Without their folders, they are gone, and nothing that is published is.
    for name in TABLES:
        shutil.rmtree(f"{lake.url}/{name}/_iceberg")
        shutil.rmtree(f"{lake.url}/{name}/_delta_log")
    lake.run(THIRD, "--replace")
    assert not list(pathlib.Path(lake.url).glob("*/_iceberg"))
    lake.backlake("verify", lake.url)


def test_two_writers_in_a_bucket_lose_no_commit_and_earlier_states_can_be_read(backlake, tables_python, folder, s3, bucket):
    folder = folder / "bucket"
    folder.mkdir()
    lake = Lake(backlake, tables_python, folder, s3, bucket)
    lake.run(FIRST)
    lake.run(SECOND)
    writers = [lake.backlake.start("run", lake.file, "--snapshot", *args, env=lake.env)
               for args in ([SECOND, "--replace"], [THIRD])]
    for writer in writers:
        said = writer.communicate(timeout=120)
        assert writer.returncode == 0, said
    past = [{"engine": engine, "do": "rows", "table": "pages", "at": "first"} for engine in ("duckdb", "pyiceberg", "polars")]
    rows = lake.manifest(FIRST)["tables"]["pages"]["rows"]
    assert lake.check([FIRST, SECOND, THIRD], ["file"], after=past) == [rows] * 3


@pytest.fixture(scope="module")
def kill_at(folder):
    """A program that kills another at one of its file operations."""
    subprocess.run(["cc", "-O1", "-o", folder / "kill_at", ROOT / "tests/it/kill_at.c"], check=True)
    return folder / "kill_at"


def test_a_killed_publication_is_whole_for_every_reader_once_it_is_repeated(backlake, tables_python, folder, kill_at):
    """Killed when the data is there and not every table lists it."""
    folder = folder / "killed"
    folder.mkdir()
    lake = Lake(backlake, tables_python, folder)
    lake.run(FIRST)
    delta, iceberg = "pages/_delta_log/00000000000000000001.json", "pages/_iceberg/metadata/v2.metadata.json"
    for when, file in [("before", delta), ("after", iceberg)]:
        killed = subprocess.run([kill_at, lake.url, f"/{file}", when, folder / "operations", backlake.binary, "run", lake.file,
                                 "--snapshot", SECOND], **backlake.options(), capture_output=True, timeout=120)
        assert killed.returncode == 137, killed.stderr
        assert pathlib.Path(lake.url, file).exists() == (when == "after"), file
        assert list(pathlib.Path(lake.url, f"pages/snapshot_date={SECOND}").glob("*.parquet"))
        assert not pathlib.Path(lake.url, f"_snapshots/{SECOND}.json").exists()
    lake.run(SECOND)
    lake.check([FIRST, SECOND], ["file"])


def examples(document, *languages):
    """The blocks of a document in these languages, in its order."""
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    return [(language, code) for language, code in blocks if language in languages]


def test_the_examples_in_the_documentation_work(backlake, tables_python, folder):
    """As they are, on a lake in the folder `lake`, over two nights. A catalog follows when its program runs again."""
    folder = folder / "examples"
    folder.mkdir()
    lake = Lake(backlake, tables_python, folder)
    (_, readme), = examples("README.md", "python lines")
    (_, catalog), = examples("docs/lake.md", "python catalog")
    programs = examples("docs/lake.md", "python iceberg", "python spark", "sql ducklake")
    assert [kind for kind, _ in programs] == ["python iceberg", "python iceberg", "python spark", "sql ducklake"], programs

    def results(*wanted):
        done = subprocess.run([tables_python, SCRIPTS / "examples.py"], input=json.dumps(wanted), cwd=folder, capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    lake.run(FIRST)
    results(("python", catalog))
    lake.run(SECOND)
    lake.check([FIRST, SECOND], ["file"])
    counts = {name: sum(lake.manifest(date)["tables"][name]["rows"] for date in (FIRST, SECOND)) for name in TABLES}
    counted = f"{catalog}\nfound = {{name: catalog.load_table(f'links.{{name}}').scan().count() for name in {TABLES}}}\n" \
              f"assert found == {counts}, found"
    # Registered for the second night, and once more, which changes nothing.
    lines, *_, found = results(("lines", readme), ("python", catalog), ("python", counted),
                               *((kind.split()[0], code) for kind, code in programs))
    assert len(lines) == 7 and all(count == counts["pages"] for _, count in lines), (counts, lines)
    assert [date for date, *_ in found] == [FIRST, SECOND], found


def test_a_catalog_of_an_earlier_ducklake_is_refused_and_stays_as_it_is(backlake, tables_python, folder):
    folder = folder / "earlier"
    folder.mkdir()
    lake = Lake(backlake, tables_python, folder)
    lake.file = lake.pipeline("")
    lake.run(FIRST)
    question = {"engine": "ducklake", "do": "snapshots", "script": "file", "may_fail": True}
    before, = lake.ask(question, scripts=lake.scripts())

    def set_version(version):
        change = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute(\"UPDATE ducklake_metadata SET value = ? WHERE key = 'version'\", [sys.argv[2]])"
        subprocess.run([tables_python, "-c", change, folder / "lake.ducklake", version], check=True, timeout=60)

    set_version("0.3")
    lake.run(SECOND)
    refused, = lake.ask(question, scripts=lake.scripts())
    assert "catalog version is 0.3" in refused["error"], refused
    set_version("1.0")
    after, = lake.ask(question, scripts=lake.scripts())
    assert len(before) == 2 and len(after) == 3, (before, after)


def test_a_catalog_with_files_of_another_lake_is_refused_and_stays_as_it_is(backlake, tables_python, folder):
    lakes = []
    for name in ("ours", "theirs"):
        (folder / name).mkdir()
        lake = Lake(backlake, tables_python, folder / name)
        lake.file = lake.pipeline("")
        lake.run(FIRST)
        lakes.append(lake)
    ours, theirs = lakes
    question = {"engine": "ducklake", "do": "facts", "script": "file", "may_fail": True}
    script = ours.scripts()["file"]
    before, = ours.ask(question, scripts={"file": script})
    of_theirs = backlake("sql", theirs.url, "--ducklake", ours.folder / "lake.ducklake")
    refused, = theirs.ask(question, scripts={"file": of_theirs})
    assert "files that are not from the lake" in refused["error"], refused
    after, = ours.ask(question, scripts={"file": script})
    assert after == before and "error" not in before, (before, after)
