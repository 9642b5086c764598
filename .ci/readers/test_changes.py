"""`backlake diff`, the view `page_changes` and the provider agree about random nights.

The list changes from night to night, the provider does not have some pages, refuses some targets, and fails some requests.
"""

import collections
import contextlib
import json
import random

import duckdb
import pytest

from lakes import ACCOUNT, SUMMARY_PATH, ask_provider, difference, pipeline, send, serve, stem, write_lines

DATES = ["2026-11-21", "2026-11-22", "2026-11-23"]
LISTS = ["movers", "risen", "fallen", "new", "lost", "added", "removed", "unanswered"]
# More than 100 sites, so that a night needs several requests.
SITES = [f"site{number}.com" for number in range(230)]


class Night:
    """A night as the provider knows it: the value of each page, and the fate of each target."""

    def __init__(self, draw, number):
        self.date = DATES[number]
        sites = [site for site in SITES if draw.random() < 0.9]
        self.asked = {f"https://{site}/{page}": site for site in sites for page in range(draw.randint(1, 4))}
        targets = list(self.asked)
        self.lines = [*targets, *draw.sample(targets, 20), "nonsense"]
        draw.shuffle(self.lines)
        self.refused = set(draw.sample(targets, draw.randint(1, 2)))
        # The request with this target fails, in the night that is compared with the one before and the one after.
        self.failing = set(draw.sample(targets, number % 2))
        self.dropped = set(draw.sample(targets, 25))
        # Ranks that the provider does not know.
        self.unknown = set(draw.sample(targets, 10))
        self.pages, self.fates = {}, {}

    @contextlib.contextmanager
    def provider(self, simulator):
        """The simulator, which this night does not have some pages, refuses some targets and fails some requests."""

        def respond(path, body):
            task = json.loads(body)[0] if path == SUMMARY_PATH else {}
            targets = task.get("targets", [])
            if "truth" in task.get("tag", "") or not targets:
                return self.altered(send(simulator + path, body))
            if self.failing.intersection(targets):
                self.fates.update(dict.fromkeys(targets, "failed"))
                return self.error(simulator, 50000)
            if self.refused.intersection(targets):
                self.fates.update(dict.fromkeys(targets, "refused"))
                return self.error(simulator, 40501)
            self.fates.update(dict.fromkeys(targets, "answered"))
            return self.altered(send(simulator + path, body))

        with serve(respond) as url:
            yield url

    @staticmethod
    def error(simulator, code):
        """A task that costs nothing and has no result."""
        body = json.dumps([{"targets": ["www.example.com", "www.example.org"]}]).encode()
        envelope = json.loads(send(simulator + SUMMARY_PATH, body))
        for task in envelope["tasks"]:
            task["status_code"], task["status_message"] = code, "an error of this test"
        return json.dumps(envelope).encode()

    def altered(self, response):
        envelope = json.loads(response)
        gone, unknown = map(lambda targets: set(map(stem, targets)), (self.dropped, self.unknown))
        for task in envelope["tasks"]:
            for result in task["result"] or []:
                if "items" not in result:
                    continue
                result["items"] = [item for item in result["items"] or [] if stem(item["url"]) not in gone]
                result["items_count"] = result["total_count"] = len(result["items"])
                for item in result["items"]:
                    if stem(item["url"]) in unknown:
                        item["rank"] = None
        return json.dumps(envelope).encode()

    def publish(self, backlake, folder, lake, before):
        source = write_lines(folder / "targets.txt", self.lines)
        with backlake.simulator(self.date) as simulator, self.provider(simulator) as provider:
            file = pipeline(folder, lake, source, base_url=provider, api="max_attempts = 1",
                            lake_keys="[publish]\nmax_failed_ratio = 1.0")
            report = backlake.report("run", file, "--snapshot", self.date, env=ACCOUNT)
            assert report["state"] == "published", report
            by_root = collections.defaultdict(list)
            for target, site in self.asked.items():
                by_root[site].append(target)
            stems = {stem(target): target for target in self.asked}
            items = {stems[stem(item["url"])]: item for item in ask_provider(provider, by_root)}
        for target in self.asked:
            # A target that was refused is not asked again for 30 days.
            fate = self.fates.get(target) or before.fates[target]
            if fate == "answered":
                fate = "returned" if target in items else "absent"
            self.fates[target] = fate
        # Also the refusals of earlier nights, of targets that are not in this list.
        for target, fate in (before.fates if before else {}).items():
            if fate == "refused":
                self.fates.setdefault(target, fate)
        self.pages = {target: item for target, item in items.items() if self.fates[target] == "returned"}

    def fate(self, target):
        return self.fates[target] if target in self.asked else None


def truth(before, now, by):
    """What became of each page between two nights: the group, both values and both fates."""
    found = {}
    for target in before.pages.keys() | now.pages.keys():
        fates = before.fate(target), now.fate(target)
        values = tuple(night.pages[target][by] if target in night.pages else None for night in (before, now))
        if fates == ("returned", "returned"):
            group = "in_both"
        elif "absent" in fates:
            group = "new" if fates[0] == "absent" else "lost"
        elif None in fates:
            group = "added" if fates[0] is None else "removed"
        else:
            group = "unanswered"
        found[target] = (group, *values, *fates)
    return found


class Nights:
    def __init__(self, backlake, folder, seed):
        self.backlake, self.lake = backlake, folder / "lake"
        draw = random.Random(seed)
        self.nights = []
        for number in range(len(DATES)):
            night = Night(draw, number)
            night.publish(backlake, folder, self.lake, self.nights[-1] if self.nights else None)
            self.nights.append(night)
        self.connection = duckdb.connect()
        self.connection.execute(backlake("sql", self.lake))

    def pairs(self):
        return list(zip(self.nights, self.nights[1:]))

    def diff(self, before, now, by, what="summary"):
        dates = ["--from", before.date, "--to", now.date]
        output = self.backlake("diff", self.lake, *dates, "--by", by, "--what", what, "--output", "json")
        return json.loads(output) if what == "summary" else [json.loads(line) for line in output.splitlines()]


@pytest.fixture(scope="module", params=[1, 2, 3], ids="seed {}".format)
def nights(backlake, tmp_path_factory, request):
    found = Nights(backlake, tmp_path_factory.mktemp("nights"), request.param)
    groups = collections.Counter(row[0] for pair in found.pairs() for row in truth(*pair, "backlinks").values())
    assert {"in_both", "new", "lost", "added", "removed", "unanswered"} == set(groups), groups
    fates = collections.Counter(night.fate(target) for night in found.nights for target in night.asked)
    assert {"returned", "absent", "failed", "refused"} == set(fates), fates
    return found


def check(found, expected):
    problem = difference(found, expected)
    assert not problem, problem


@pytest.mark.parametrize("by", ["backlinks", "rank"])
def test_page_changes_are_the_truth(nights, by):
    for before, now in nights.pairs():
        rows = nights.connection.execute(
            f"SELECT target, CASE WHEN change IN ('same', 'changed') THEN 'in_both' ELSE change END, {by}_before, {by}, "
            f"fate_before, fate FROM page_changes WHERE snapshot_date = DATE '{now.date}'").fetchall()
        assert len({row[0] for row in rows}) == len(rows)
        check({row[0]: row[1:] for row in rows}, truth(before, now, by))


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.parametrize("by", ["backlinks", "rank"])
def test_the_lists_of_diff_are_the_truth(nights, by, what):
    def is_listed(group, left, right, *_):
        if what not in ("movers", "risen", "fallen"):
            return group == what
        if group != "in_both" or left is None or right is None:
            return False
        return {"movers": left != right, "risen": left < right, "fallen": left > right}[what]

    for before, now in nights.pairs():
        rows = nights.diff(before, now, by, what)
        assert len({row["target"] for row in rows}) == len(rows)
        expected = {target: row for target, row in truth(before, now, by).items() if is_listed(*row)}
        check({row["target"]: (row.get("before"), row.get("after")) for row in rows},
              {target: row[1:3] for target, row in expected.items()})
        if what == "unanswered":
            check({row["target"]: (row["fate_before"], row["fate_after"]) for row in rows},
                  {target: row[3:] for target, row in expected.items()})


@pytest.mark.parametrize(("by", "statistic"), [("backlinks", "sum({})::BIGINT"), ("rank", "quantile_disc({}, 0.5)")])
def test_the_summary_of_diff_is_what_page_changes_add_up_to(nights, by, statistic):
    left, right = statistic.format(f"{by}_before"), statistic.format(by)
    for before, now in nights.pairs():
        where = f"FROM page_changes WHERE snapshot_date = DATE '{now.date}'"
        summary = nights.diff(before, now, by)
        pages = summary["pages"]
        for group in ["new", "lost", "added", "removed", "unanswered"]:
            row = nights.connection.execute(f"SELECT count(*), {left}, {right} {where} AND change = '{group}'").fetchone()
            assert (pages[group]["pages"], pages[group]["before"], pages[group]["after"]) == row, group
        both = pages["in_both"]
        compared = f"{where} AND change IN ('same', 'changed')"
        assert both["pages"] == nights.connection.execute(f"SELECT count(*) {compared}").fetchone()[0]
        row = nights.connection.execute(
            f"SELECT {left}, {right}, count(*) FILTER ({by}_change > 0), count(*) FILTER ({by}_change < 0), "
            f"count(*) FILTER ({by}_change = 0) {compared} AND {by}_change IS NOT NULL").fetchone()
        assert (both["before"], both["after"], both["risen"], both["fallen"], both["unchanged"]) == row
        assert both["unknown"] == both["pages"] - sum(row[2:])
        for side, night in [("before", before), ("after", now)]:
            fates = collections.Counter(map(night.fate, night.asked))
            fates["targets"] = len(night.asked)
            check(summary["list"][side], {name: fates[name] for name in summary["list"][side]})
        assert summary["list"]["added"] == len(now.asked.keys() - before.asked.keys())
        assert summary["list"]["removed"] == len(before.asked.keys() - now.asked.keys())
