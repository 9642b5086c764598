"""Options and fixtures. `.ci/readers/run PATH-OF-BACKLAKE [PYTEST-OPTIONS]` passes all that is needed.

    -k replay           only tests with that in their name
    --full              test_pruning: 30 nights instead of 3
    --responses N       test_replay: so many responses instead of 200; from 1,000 on the full bounds hold
    --rounds N          test_replay: so many rounds, on one core and on two, instead of one on two
    --kills N           test_interrupt: so many kills for each kind of store instead of 12
    --campaign SIZE     test_faulty_s3, test_s3: small, middle or full
"""

import os
import pathlib
import sys
import tempfile
import time

# No result may depend on the machine's time zone. Readers take it from here when they are imported.
os.environ["TZ"] = "America/New_York"
time.tzset()

import pytest
from playwright.sync_api import sync_playwright

from lakes import SCRIPTS, Backlake, s3_server

# Modules that tests share with the programs they start.
sys.path.insert(0, str(SCRIPTS))

CHROMIUM = "/usr/bin/chromium"
# Nothing but the page: the browser must not look for updates.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
MEASUREMENTS = pytest.StashKey[list]()


def pytest_addoption(parser):
    group = parser.getgroup("backlake")
    group.addoption("--backlake", type=pathlib.Path, metavar="PATH", help="the binary under test")
    group.addoption("--tables-python", type=pathlib.Path, metavar="PATH",
                    help="a Python with requirements-tables.txt; without it the checks of table formats are skipped")
    group.addoption("--full", action="store_true", help="look targets up in 30 nights instead of 3")
    group.addoption("--responses", type=int, default=200, metavar="N", help="replay N responses of 1,000 rows")
    group.addoption("--rounds", type=int, default=1, metavar="N", help="replay N times, on one core and on two")
    group.addoption("--kills", type=int, default=12, metavar="N", help="interrupt publishing N times for each store")
    group.addoption("--campaign", choices=["small", "middle", "full"], default="small",
                    help="how many faults of the store, and starts at the same moment, are tried")


def pytest_configure(config):
    config.stash[MEASUREMENTS] = []


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[MEASUREMENTS]:
        terminalreporter.section("measurements")
        for text in config.stash[MEASUREMENTS]:
            terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def measured(pytestconfig):
    """Shows a line or a table of measurements at the end, whether tests pass or fail."""
    return pytestconfig.stash[MEASUREMENTS].append


@pytest.fixture(scope="session")
def backlake(pytestconfig):
    """The binary under test."""
    binary = pytestconfig.getoption("backlake")
    if not (binary and binary.is_file()):
        pytest.exit("no binary to test: pass --backlake PATH", returncode=pytest.ExitCode.USAGE_ERROR)
    return Backlake(binary.resolve())


@pytest.fixture(scope="session")
def tables_python(pytestconfig):
    """A Python that has the readers of table formats."""
    python = pytestconfig.getoption("tables_python")
    return python or pytest.skip("no readers of table formats: pass --tables-python PATH")


@pytest.fixture(scope="module")
def folder():
    """A folder for a module's lakes, deleted after the module: some take gigabytes."""
    with tempfile.TemporaryDirectory() as path:
        yield pathlib.Path(path)


@pytest.fixture(scope="session")
def s3():
    """An S3 server."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3, request):
    """A bucket for a module's lakes."""
    name = request.module.__name__.replace("_", "-")
    s3.client.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def browser():
    """A browser, to look at reports."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def demo(backlake):
    """The demo, published once: its lake, its report and its metrics file."""
    with tempfile.TemporaryDirectory() as path:
        yield Demo(backlake, pathlib.Path(path))


class Demo:
    DATE = "2026-11-23"

    def __init__(self, backlake, folder):
        self.lake, self.metrics = folder / "lake", folder / "backlake.prom"
        self.report = backlake.report("run", "pipelines/demo.toml", "--lake", self.lake, "--metrics-file", self.metrics)
