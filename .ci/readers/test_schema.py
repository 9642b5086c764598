"""The JSON Schema of the pipeline file accepts what the parser accepts, and refuses what it refuses.

Every key is set to values of every kind: those of the schema, those beside its bounds, and all others that occur here.
`plan` is the parser's verdict: the list that it reads is fine. Known to be looser is the schema where JSON has no such thing:
`1.0` is an integer, `nan` a number, and no file is read. The parser takes more spellings of an amount in quotes, such as "+1_0".
"""

import json
import re
import subprocess
import tomllib

import jsonschema
import pytest

from lakes import ROOT

SHORTEST = {"targets.paths": '["{list}"]', "api.base_url": '"simulator"', "lake.url": '"{lake}"'}
VALUES = ['""', '"a"', '"a b"', '"1"', '"-1"', '"0.05"', '"2026-11-23"', '"2026-02-30"', '"2026-1-2"', '"hold"', '"simulator"',
          "0", "1", "-1", "2", "150", "16385", "0.5", "1.5", "-0.1", "1e-5", "true", "false", "[]", '["a"]', '["a", "a"]', "[1]",
          "{ a = 1 }", "2026-11-23", f'"{"n" * 60}"', f'"{"n" * 61}"']
URLS = ["https://api.example.com", "https://api.example.com:8443/x?y", "http://127.0.0.1:80", "http://localhost", "http://[::1]:1",
        "http://api.example.com", "https://me:secret@example.com", "ftp://example.com", "https://", "simulators"]
PATHS = ["no/such.csv", "ftp://a/b", "s3://bucket", "s3://bucket/", "http://a.com/list.csv", "https://me:secret@a.com/list.csv"]
LAKES = ["a/b", "s3://bucket", "gs://bucket/a", "az://container/a/b", "abfss://c@account.dfs.core.windows.net/a", "s3://", "ftp://a/b",
         "nightly.toml", "a/b.toml", "https://example.com/lake"]
# Whole files: what depends on two keys, and what is no key.
FILES = [({"price.per_row_usd": "0.1"}, False), ({"price.per_row_usd": "0.1", "price.per_request_usd": '"0.02"'}, True),
         ({"targets.header": "false", "targets.column": "1", "targets.keep": '["2"]'}, None),
         ({"targets.header": "false", "targets.column": '"url"'}, False),
         ({"targets.header": "false", "targets.keep": '["url"]'}, False),
         ({"targets.header": "true", "targets.column": '"url"'}, None),
         ({"nonsense": "1"}, False), ({"lake.nonsense": "1"}, False), ({"nonsense.key": "1"}, False),
         ({"lake.url": None}, False), ({"api.base_url": None}, False), ({"targets.paths": None}, False)]
# Errors of the list and of the environment, which `plan` finds once the file is parsed.
NOT_THE_FILE = re.compile(r"^error: (failed to open the lake at (gs|az|abfss)://|target list|failed to read target list|none of|the target list|.* matches no file)")
# The list of the test has a header and two columns.
LIST = "url,2,a,1,n\n" + "https://example.com/,b,c,d,e\n"


def written(keys):
    """A pipeline file with these keys."""
    tables = {}
    for name, value in keys.items():
        if value is not None:
            table, _, key = name.rpartition(".")
            tables.setdefault(table, []).append(f"{key} = {value}")
    parts = ["\n".join(tables.pop("", []))] + [f"[{table}]\n" + "\n".join(lines) for table, lines in tables.items()]
    return "\n".join(parts) + "\n"


@pytest.fixture(scope="module")
def schema(backlake):
    schema = json.loads(backlake("schema", "pipeline"))
    jsonschema.Draft7Validator.check_schema(schema)
    return schema


@pytest.fixture(scope="module")
def verdicts(backlake, schema, folder):
    """Returns for a file whether the schema accepts it, whether the parser does, and what the parser said."""
    targets, file = folder / "list.csv", folder / "some.toml"
    targets.write_text(LIST)
    shortest = {name: value.format(list=targets, lake=folder / "lake") for name, value in SHORTEST.items()}
    validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)

    def both(keys):
        text = written(shortest | keys)
        file.write_text(text)
        done = subprocess.run([backlake.binary, "plan", file, "--quiet"], **backlake.options(), capture_output=True, timeout=60)
        assert done.returncode in (0, 2), done.stderr
        # An error of the list is none of the file.
        parsed = done.returncode == 0 or NOT_THE_FILE.search(done.stderr) is not None
        return validator.is_valid(tomllib.loads(text)), parsed, f"{text}\n{done.stderr}"

    return both


def keys_of(schema):
    for name, key in schema["properties"].items():
        if key.get("type") == "object":
            yield from ((f"{name}.{inner}", value) for inner, value in key["properties"].items())
        else:
            yield name, key


def beside_bounds(key):
    for bound in (key.get("minimum"), key.get("maximum")):
        if bound is not None and abs(bound) < 2**62:
            yield from (json.dumps(bound - 1), json.dumps(bound), json.dumps(bound + 1))


def test_every_value_of_every_key_gets_the_same_verdict(schema, verdicts):
    keys = dict(keys_of(schema))
    assert len(keys) > 40, keys
    differ = []
    for name, key in keys.items():
        values = VALUES + [json.dumps(choice) for choice in key.get("enum", [])] + list(beside_bounds(key))
        values += [json.dumps([choice]) for choice in key.get("items", {}).get("enum", [])]
        if name in ("api.base_url", "lineage.url"):
            values += [json.dumps(url) for url in URLS]
        if name == "lake.url":
            values += [json.dumps(place) for place in LAKES]
        if name == "targets.paths":
            values += [json.dumps([path]) for path in PATHS]
        if name in ("price.per_request_usd", "price.per_row_usd"):
            other, = {"price.per_request_usd", "price.per_row_usd"} - {name}
            more = {other: "0.01"}
        else:
            more = {}
        for value in values:
            # Files that do not exist.
            if name == "lake.contracts" and '"' in value:
                continue
            by_schema, by_parser, said = verdicts(more | {name: value})
            if by_schema != by_parser:
                differ.append(f"{name} = {value}: schema {by_schema}, parser {by_parser}: {said.splitlines()[-2:]}")
    assert not differ, "\n".join(differ)


@pytest.mark.parametrize("keys, expected", FILES)
def test_what_depends_on_two_keys_gets_the_same_verdict(verdicts, keys, expected):
    by_schema, by_parser, said = verdicts(keys)
    assert by_schema == by_parser, said
    assert expected is None or by_parser == expected, said


def test_the_shipped_files_and_the_one_with_every_key_are_valid(backlake, schema):
    shipped = [(ROOT / "pipelines" / name).read_text() for name in ("demo.toml", "nightly.toml")]
    for text in [backlake("config"), *shipped]:
        jsonschema.Draft7Validator(schema).validate(tomllib.loads(text))
