"""A newcomer with a list of their own, who reads no more than the first screen of the README: its commands, run as they stand."""

import os
import re
import shlex
import subprocess
import sys
import time

import pytest

from lakes import ROOT

# A terminal of a usual size.
FIRST_SCREEN = 40

TITLES = ["https://crates.io/crates/serde", "https://crates.io/crates/tokio", "docs.rs"]
LISTS = {
    "with a header": "url\n" + "\n".join(TITLES) + "\n",
    "as a tool exports it": "Exported by hand\nTop pages;Client;Visits\n" + "".join(f"{url};Acme;9\n" for url in TITLES),
    "with a column of titles first": "Page,URL\n" + "".join(f"Title {n},{url}\n" for n, url in enumerate(TITLES)),
    "without a header": "".join(f"{url},1\n" for url in TITLES),
    "as Excel saves it": "\ufeffURL;n\r\n" + "".join(f"{url};1\r\n" for url in TITLES),
}


def commands():
    """The commands of the first block in the README, without their comments; the first one installs."""
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:FIRST_SCREEN])
    block = re.search(r"^```sh\n(.*?)^```$", screen, re.DOTALL | re.MULTILINE)
    assert block, f"no commands in the first {FIRST_SCREEN} lines"
    install, *others = [line.split(" #")[0].rstrip() for line in block[1].splitlines()]
    assert "install" in install
    return others


@pytest.mark.parametrize("name", LISTS)
def test_the_first_screen_leads_from_a_list_to_a_query(backlake, tmp_path, measured, name):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/backlake").symlink_to(backlake.binary)
    # PyPI's duckdb has no program of this name.
    query = "import sys, duckdb; print(*duckdb.sql(sys.argv[2]).fetchall(), sep=chr(10))"
    duckdb = tmp_path / "bin/duckdb"
    duckdb.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{query}" "$@"\n')
    duckdb.chmod(0o755)
    (tmp_path / "pages.csv").write_text(LISTS[name])
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TZ": os.environ["TZ"]}
    start = time.monotonic()
    shown = ""
    for command in commands():
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        shown = done.stdout
    seconds = time.monotonic() - start
    measured(f"newcomer, a list {name}: from the list to the query in {seconds:.1f} s")
    assert seconds < 300
    rows = shown.splitlines()
    assert len(rows) == len(TITLES) and all(any(title in row for row in rows) for title in TITLES), shown
