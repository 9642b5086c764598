"""Every request to an S3 server fails in every way: no paid response is lost, nothing is paid twice, and the lake is sound.

A chain is the five commands that change a lake, in an order in which each has something to do. Each command meets one fault,
at one request or at a series of them. A seed decides which request. What a chain does follows from the numbers of its
requests alone; nothing waits for a time. `--campaign` sets the size: `small` meets every fault, `middle` every pair of a kind
of request and a fault, `full` every pair in every command that sends such requests, at one request and at a series.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
import json
import random
import string
import subprocess

import pytest

from faulty_s3 import FAULTS, FaultyS3, Plan, meets
from lakes import ACCOUNT, charged, pipeline, write_lines

DATE, DAY_BEFORE = "2026-11-23", "2026-11-22"
COMMANDS = ["run", "replay", "replace", "compact", "prune"]
# Chains at the same time.
AT_ONCE = 3
# More than the client of the object store tries by itself.
SERIES = {"slow": 2}
LONG = 7
# Long enough for every request on a busy machine, and short enough to wait for.
TIMEOUT, TIMEOUT_OF_PARTS = "4s", "20s"
# The only fault that ends a command, and its exit codes: credentials that have never worked are not waited for. Repeated, it
# succeeds.
ENDS, ENDED = "expired", {1, 2}
# What is said only of other causes.
FALSE = ["another process", "bucket does not exist", "conditional writes", "does not accept the credentials", "panicked"]


def lines(is_large):
    """A target list: with long targets that do not compress, if the files of the tables are to be uploaded in parts."""
    if not is_large:
        return [f"site{n}.com" for n in range(250)] + [f"https://page{n % 40}.org/{n}" for n in range(400)]
    chance = random.Random(3)
    letters = string.ascii_letters + string.digits
    return [f"https://page{n % 90}.org/{n}/{''.join(chance.choices(letters, k=1900))}" for n in range(4000)]


class Chain:
    """A lake on the S3 server behind a proxy of its own, and its provider."""

    def __init__(self, backlake, s3, bucket, folder, name, is_large):
        self.backlake, self.proxy = backlake, FaultyS3(s3.endpoint)
        self.folder, self.name, self.is_large = folder / name, name, is_large
        self.folder.mkdir()
        self.url = f"s3://{bucket}/{name}"
        self.env = ACCOUNT | s3.env | {
            "AWS_ENDPOINT": self.proxy.url, "AWS_TIMEOUT": TIMEOUT_OF_PARTS if is_large else TIMEOUT, "TMPDIR": str(self.folder)}

    def __enter__(self):
        self.proxy.__enter__()
        self.simulator = self.backlake.simulator(DATE)
        self.provider = self.simulator.__enter__()
        targets = write_lines(self.folder / "targets.txt", lines(self.is_large))
        self.pipeline = pipeline(self.folder, self.url, targets, base_url=self.provider,
                                 api="max_in_flight = 4\nlisted_after_seconds = 1")
        return self

    def __exit__(self, *error):
        self.simulator.__exit__(*error)
        self.proxy.__exit__()

    def args(self, command, date=DATE):
        on_date = [self.pipeline, "--snapshot", date]
        return {
            "run": ["run", *on_date, "--backfill"],
            "replay": ["replay", *on_date],
            "replace": ["run", *on_date, "--replace"],
            "compact": ["compact", self.url, "--yes"],
            "prune": ["prune", self.url, "--keep-snapshots", "1", "--keep-archives", "1", "--yes"],
            "verify": ["verify", self.url, "--archive"],
        }[command]

    def start(self, *args):
        return subprocess.run([self.backlake.binary, *map(str, args)], **self.backlake.options(self.env),
                              capture_output=True, timeout=600)

    def must(self, command, date=DATE):
        """Does a command undisturbed."""
        self.proxy.plan_for_next(None)
        done = self.start(*self.args(command, date))
        assert done.returncode == 0, (self.name, command, done.stdout, done.stderr)

    def charged(self):
        return len(charged(self.provider))

    def left_over(self):
        """Responses that the lake did not take, and parts of it on this disk."""
        return [path.name for path in self.folder.iterdir() if path.name.startswith(("backlake-", ".backlake-"))]


@dataclasses.dataclass
class Undisturbed:
    """What a command does if nothing fails: its requests by kind, and the charges after it."""

    kinds: collections.Counter
    charged: int


def undisturbed(chain, commands):
    chain.must("run", DAY_BEFORE)
    found = {}
    for command in commands:
        chain.must(command)
        found[command] = Undisturbed(chain.proxy.seen, chain.charged())
    chain.must("verify")
    return found


def play(chain, plans, expected):
    """Does the commands, each with its plan; returns how often each pair was met, the exit codes of the commands, and the
    plans that a command has not met."""
    codes, missed = collections.Counter(), []
    chain.must("run", DAY_BEFORE)
    for command, plan in plans:
        chain.proxy.plan_for_next(plan)
        done = chain.start(*chain.args(command))
        what = f"{chain.name}: {command} with {plan}: exit {done.returncode}\n{done.stderr[-6000:]}"
        # How many requests a command sends differs a little: how often it renews its lock depends on the time it takes.
        assert chain.proxy.has_begun or not done.returncode, what
        if not chain.proxy.has_begun:
            missed.append((command, plan))
        assert not any(words in done.stderr for words in FALSE), what
        codes[done.returncode, plan.fault if plan else ""] += 1
        if done.returncode:
            assert plan and plan.fault == ENDS and done.returncode in ENDED, what
            chain.must(command)
        assert chain.charged() == expected[command].charged, what
        chain.must("verify")
        assert not chain.left_over(), (chain.left_over(), what)
    report = chain.start("check", chain.pipeline, "--snapshot", DATE, "--reconcile", "--output", "json")
    assert report.returncode == 0, (chain.name, report.stdout, report.stderr)
    reconciled = json.loads(report.stdout)["reconciled"]
    assert reconciled["different"] == 0, (chain.name, reconciled)
    return chain.proxy.reached, codes, missed


def plans_of(expected, size, chance):
    """The plans of each command: what meets what, at which request, and at how many."""

    def plan(command, kind, fault, is_series):
        number = chance.randrange(expected[command].kinds[kind])
        return Plan(kind, number, fault, SERIES.get(fault, LONG) if is_series else 1)

    plans = {command: [] for command in expected}
    if size == "small":
        for number, fault in enumerate(FAULTS):
            command = COMMANDS[number % len(COMMANDS)]
            kinds = [kind for kind in sorted(expected[command].kinds) if meets(kind, fault)]
            plans[command].append(plan(command, chance.choice(kinds), fault, number % 2 == 0))
        return plans
    kinds = sorted(set().union(*(found.kinds for found in expected.values())))
    for kind, fault, is_series in itertools.product(kinds, FAULTS, [False, True]):
        if not meets(kind, fault):
            continue
        sending = [command for command, found in expected.items() if found.kinds[kind]]
        # One command is enough, unless the campaign is full.
        for command in sending if size == "full" else [min(sending, key=lambda command: len(plans[command]))]:
            plans[command].append(plan(command, kind, fault, is_series))
    return plans


@pytest.fixture(scope="module")
def size(pytestconfig):
    return pytestconfig.getoption("campaign")


@pytest.mark.parametrize("is_large", [False, True], ids=["small-files", "files-in-parts"])
def test_whatever_the_store_does_no_response_is_lost_and_nothing_is_paid_twice(backlake, s3, bucket, folder, size, is_large, measured):
    if is_large and size == "small":
        pytest.skip("only with --campaign middle or full")
    commands = ["run", "replace"] if is_large else COMMANDS
    kind = "large" if is_large else "chain"
    with Chain(backlake, s3, bucket, folder, f"{kind}-undisturbed", is_large) as chain:
        expected = undisturbed(chain, commands)
    if is_large:
        # Only what small files do not need.
        for command in expected.values():
            command.kinds = collections.Counter({kind: command.kinds[kind] for kind in ("upload", "part", "complete") if command.kinds[kind]})
    plans = plans_of(expected, size, random.Random(12))
    count = max(map(len, plans.values()))

    def chain_of(number):
        some = [(command, plans[command][number % len(plans[command])]) for command in commands]
        with Chain(backlake, s3, bucket, folder, f"{kind}-{number}", is_large) as chain:
            return play(chain, some, expected)

    reached, codes, missed = collections.Counter(), collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for of_chain, ended, not_met in pool.map(chain_of, range(count)):
            reached += of_chain
            codes += ended
            missed += not_met
    measured(f"faulty S3, {kind}: {count} chains of {commands}; commands by exit code and fault: {dict(sorted(codes.items()))}; "
             f"{len(missed)} of {codes.total()} have not met their fault; "
             f"requests by kind and fault: {dict(sorted(reached.items()))}")
    planned = {(plan.kind, plan.fault) for found in plans.values() for plan in found}
    assert planned <= set(reached), f"never reached: {sorted(planned - set(reached))}"
    assert len(missed) * 10 <= codes.total(), f"too many faults were not met: {missed}"
    assert is_large or {fault for _, fault in planned} == set(FAULTS), planned
