"""Any table that Python's csv module writes or accepts, backlake reads the same: rows, line numbers, labels. What the
module refuses in strict mode, backlake refuses, too."""

import codecs
import csv
import gzip
import io
import json
import random
import zipfile

import duckdb

from lakes import ACCOUNT

SEED = 11
TABLES = 300
TEXTS = 400
DATE = "2026-11-23"
CELL = "ab9 é日😀,;|\t\"'\\\n."
ENCODINGS = [
    lambda text: text.encode(),
    lambda text: codecs.BOM_UTF8 + text.encode(),
    lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
]


def rows(text, delimiter):
    """The rows of a text and the line on which each starts; `csv.Error` if one is malformed."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    for row in reader:
        if row:
            yield start, row
        start = reader.line_num + 1


def written(chance):
    """A random table as `csv.writer` writes it."""
    delimiter = chance.choice(",;\t|")
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=chance.choice(["\n", "\r\n", "\r"]),
                        quoting=chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    names = ["url", "a", "b"]
    chance.shuffle(names)
    writer.writerow(names)
    for number in range(chance.randint(1, 6)):
        cells = {name: "".join(chance.choices(CELL, k=chance.randint(0, 6))) for name in names}
        cells["url"] = f"https://example.com/{chance.randint(0, 9)}?q={number}"
        writer.writerow([cells[name] for name in names])
    return text.getvalue(), delimiter


def typed(chance):
    """A random text that looks like a csv."""
    body = "".join(chance.choices("ab,,\"\"\n\n\r", k=chance.randint(1, 16)))
    return "url,a,b\n" + body, ","


def is_accepted(text, delimiter):
    try:
        list(rows(text, delimiter))
    except csv.Error:
        return False
    return True


def save(folder, number, text, chance):
    """Writes a text in a random encoding and compression, and returns its path."""
    content, packing = chance.choice(ENCODINGS)(text), chance.choice(["", ".gz", ".zip"])
    path = folder / f"list-{number:04}.csv{packing}"
    if packing == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("list.csv", content)
    else:
        path.write_bytes(gzip.compress(content) if packing else content)
    return path


def pipeline(folder, paths):
    """A pipeline file that asks the simulator about these lists."""
    path = folder / "pipeline.toml"
    path.write_text(f"""
name = "lists"
endpoint = "backlinks/bulk_pages_summary"
snapshot = "{DATE}"
[targets]
paths = {json.dumps([str(path) for path in paths])}
column = "url"
keep = ["a", "b"]
max_invalid_ratio = 1.0
[api]
base_url = "simulator"
[lake]
url = "{folder}/lake"
""")
    return path


def test_rows_are_those_that_python_reads(backlake, tmp_path):
    chance = random.Random(SEED)
    texts = [written(chance) for _ in range(TABLES)] + [typed(chance) for _ in range(TEXTS)]
    accepted = [text for text in texts if is_accepted(*text)]
    assert len(accepted) > TABLES
    expected = {}
    for number, (text, delimiter) in enumerate(accepted):
        path = save(tmp_path, number, text, chance)
        (_, names), *found = rows(text, delimiter)
        for line, row in found:
            cells = dict(zip(names, row))
            labels = {name: cells[name] for name in ("a", "b") if name in cells}
            expected[str(path), line] = (cells.get("url", ""), labels)
    paths = sorted({path for path, _ in expected})
    backlake("run", pipeline(tmp_path, paths), env=ACCOUNT)
    found = duckdb.sql(f"SELECT source, line, input, labels FROM '{tmp_path}/lake/targets/*/*.parquet'").fetchall()
    found = {(source, line): (text, dict(labels or {})) for source, line, text, labels in found}
    assert len(found) == len(expected)
    for place, row in expected.items():
        assert found[place] == row, place


def test_what_python_refuses_in_strict_mode_is_refused(backlake, tmp_path):
    chance = random.Random(SEED)
    texts = [typed(chance) for _ in range(TEXTS)]
    refused = [text for text in texts if not is_accepted(*text)]
    assert len(refused) > 40
    for number, (text, _) in enumerate(refused[:40]):
        path = save(tmp_path, number, text, chance)
        done = backlake.finish("plan", pipeline(tmp_path, [path]), code=2)
        assert "a quote" in done.stderr, (text, done.stderr)
