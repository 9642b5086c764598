"""Every query in README.md and docs/ gives the result that is printed below it.

A ```sql block queries the demo's one snapshot in a folder `lake`. A ```sql views block queries the views of
`backlake sql` over the snapshots that the document tells its reader to publish. Each is followed by its result,
a ```text block. So is a ```python block that reads a lake: it runs in the folder of these snapshots.
"""

import dataclasses
import itertools
import re
import subprocess
import sys

import duckdb
import pytest

from lakes import ROOT, in_utc

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LANGUAGES = ("sql", "sql views", "python")
SNAPSHOT = re.compile(r"run pipelines/stories\.toml --snapshot (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


@dataclasses.dataclass
class Query:
    """A query of a document; `shown` is None if no result follows."""

    document: str
    line: int
    language: str
    sql: str
    shown: str | None

    def __str__(self):
        return f"{self.document}:{self.line}"


def queries():
    """All queries of the documents."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text()
        for block, after in itertools.pairwise([*FENCE.finditer(text), None]):
            language = block[1].strip()
            if language in LANGUAGES:
                shown = after[2] if after and after[1].strip() == "text" else None
                line = text.count("\n", 0, block.start()) + 1
                found.append(Query(str(path.relative_to(ROOT)), line, language, block[2], shown))
    return found


QUERIES = queries()


def check(connection, sql, shown):
    """The result is what the document shows: a header, a line of dashes, and rows."""
    result = connection.execute(sql)
    rows = [[column[0] for column in result.description], *([str(value) for value in row] for row in result.fetchall())]
    lines = [[cell.strip() for cell in line.strip().strip("│|").split("|")] for line in shown.strip().splitlines()]
    lines = [line for line in lines if not set("".join(line)) <= set("-: ")]
    assert lines == rows, f"{sql}\nthe document shows {lines}\nDuckDB says {rows}"


@pytest.fixture(scope="module")
def views(backlake, folder):
    """The views over the snapshots of the demo that the documents name."""
    documents = {query.document for query in QUERIES if query.language == "sql views"}
    dates = {date for document in documents for date in SNAPSHOT.findall((ROOT / document).read_text())}
    assert len(dates) >= 2, f"{documents} show changes between snapshots and name {dates}"
    for date in sorted(dates):
        backlake("run", "pipelines/stories.toml", "--lake", folder / "lake", "--snapshot", date)
    connection = duckdb.connect()
    connection.execute(backlake("sql", folder / "lake"))
    return connection


def test_the_documents_have_queries_and_each_shows_its_result():
    readme = [query for query in QUERIES if query.document == "README.md"]
    assert len(readme) >= 1 and len(QUERIES) - len(readme) >= 8, list(map(str, QUERIES))
    assert sum(query.language == "sql views" for query in QUERIES) >= 5, list(map(str, QUERIES))
    sql = [query for query in QUERIES if query.language != "python"]
    assert not [str(query) for query in sql if query.shown is None]


@pytest.mark.parametrize("query", [query for query in QUERIES if query.language == "sql"], ids=str)
def test_a_query_of_tables_gives_the_result_that_is_shown(query, demo):
    check(in_utc(), query.sql.replace("'lake/", f"'{demo.lake}/"), query.shown)


@pytest.mark.parametrize("query", [query for query in QUERIES if query.language == "sql views"], ids=str)
def test_a_query_of_views_gives_the_result_that_is_shown(query, views):
    check(views, query.sql, query.shown)


@pytest.mark.parametrize("query", [query for query in QUERIES if query.language == "python"
                                   and query.document == "docs/analysts.md"], ids=str)
def test_a_program_that_reads_the_lake_prints_what_is_shown(query, views, folder):
    done = subprocess.run([sys.executable, "-c", query.sql], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.stdout == query.shown, done.stderr
