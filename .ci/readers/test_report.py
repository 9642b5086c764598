"""A report is true and can be read: its numbers are DuckDB's answers to the SQL in it, and a real browser shows all of it."""

import collections
import html.parser
import itertools
import pathlib
import re

import duckdb
import pytest

from lakes import pipeline

NIGHTS = ["2026-11-20", "2026-11-21", "2026-11-23"]
HOSTILE = [
    "https://markup-site.com/<script>alert(1)</script>",
    "https://quotes-site.com/?a='><b onmouseover=alert(1)>",
    "https://turned-site.com/moc\u202egnp.exe",
    "https://long-site.com/" + "a" * 1_900,
    "https://unbroken-site.com/" + "-".join(["word"] * 80),
]


def write_list(path, pages):
    """A list with two columns of labels. The values of one contain what SQL and HTML would take for their own."""
    clients = ["Acme", "Beta & Co", "O'Neil <b>\"x\"</b>", "long " * 40, "mid\u200bdle"]
    rows = [f"https://site{n // 30}.com/page-{n},{clients[n % 3]},{'de' if n % 2 else 'fr'}" for n in range(pages)]
    rows += [f"{target}{n},\"{client.replace(chr(34), chr(34) * 2)}\",fr"
             for n in range(8) for target, client in zip(HOSTILE, clients)]
    rows = [row.replace("O'Neil <b>\"x\"</b>,", "\"O'Neil <b>\"\"x\"\"</b>\",") for row in rows]
    # A page that two clients share.
    rows.append("https://site0.com/page-0,Beta & Co,de")
    path.write_text("url,client,it's a market\n" + "".join(f"{row}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def lake(backlake, folder):
    """Three nights, with a gap and a list that changes."""
    place = folder / "lake"
    for night, pages in zip(NIGHTS, [900, 900, 930], strict=True):
        file = pipeline(folder, place, write_list(folder / "list.csv", pages),
                        columns='column = "url"\nkeep = ["client", "it\'s a market"]')
        backlake("run", file, "--snapshot", night)
    return place


LABEL = ["--label", "client=O'Neil <b>\"x\"</b>"]


@pytest.fixture(scope="module", params=[(1, []), (2, []), (3, []), (3, LABEL)],
                ids=["1-night", "2-nights", "3-nights", "a-label"])
def report(request, backlake, lake, folder):
    """A report over so many nights, of all pages or of a label."""
    nights, label = request.param
    page = folder / f"{nights}{len(label)}.html"
    backlake("report", lake, "--snapshot", NIGHTS[nights - 1], "--out", page, *label)
    return page


class Numbers(html.parser.HTMLParser):
    """The numbers of a report by the query that `data-sql` names, as values and as they are shown, and the queries."""

    EMPTY = {"meta", "link", "br", "wbr"}

    def __init__(self, text):
        super().__init__()
        self.open, self.values, self.queries = [], collections.defaultdict(list), {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in self.EMPTY:
            return
        self.open.append((tag, dict(attributes)))
        if tag == "data":
            self.values[self.of("data-sql")].append([self.open[-1][1]["value"], ""])
        if tag == "code" and self.query():
            self.queries[self.query()] = ""

    def handle_endtag(self, tag):
        assert tag in self.EMPTY or self.open.pop()[0] == tag, f"</{tag}> in {self.getpos()}"

    def handle_data(self, text):
        tags = [tag for tag, _ in self.open]
        if "code" in tags and self.query():
            self.queries[self.query()] += text
        if tags and tags[-1] == "data":
            self.values[self.of("data-sql")][-1][1] += text

    def of(self, name):
        return next((attributes[name] for _, attributes in reversed(self.open) if name in attributes), None)

    def query(self):
        ids = [attributes.get("id") or "" for _, attributes in self.open]
        return next((name.removeprefix("sql-") for name in ids if name.startswith("sql-")), None)


def test_every_number_is_the_answer_to_its_sql(report, backlake, lake):
    numbers = Numbers(report.read_text())
    connection = duckdb.connect()
    connection.execute(backlake("sql", lake))
    assert len(numbers.queries) >= 8 and "labels-1" in numbers.queries, list(numbers.queries)
    assert set(numbers.values) <= set(numbers.queries), "numbers without SQL"
    for name, sql in numbers.queries.items():
        answer = [value for row in connection.execute(sql).fetchall() for value in row]
        shown = numbers.values[name]
        assert [plain(value) for value, _ in shown] == ["" if value is None else plain(value) for value in answer], f"{name}: {sql}"


def plain(value):
    """A value as HTML has it: money without zeros at its end."""
    text = str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def test_what_is_shown_is_the_value(report):
    numbers = Numbers(report.read_text())
    for value, shown in itertools.chain.from_iterable(numbers.values.values()):
        if not value or shown.startswith("rank"):
            continue
        assert re.sub(r"[,+±$]", "", shown).replace("\u2212", "-") == value, (value, shown)


OVERFLOW = """() => {
    const wide = document.documentElement.clientWidth, bad = [];
    for (const element of document.querySelectorAll('body *')) {
        const box = element.getBoundingClientRect(), style = getComputedStyle(element);
        if (!box.width || element.closest('svg') || element.closest('thead') || style.visibility === 'hidden') continue;
        const inside = box.left >= -0.5 && box.right <= wide + 0.5;
        const holds = style.overflowX !== 'visible' || element.matches('.card, td, th, li, summary');
        const whole = !holds || element.scrollWidth <= element.clientWidth + 1;
        if (!inside || !whole) bad.push(`${element.tagName} ${element.className} ${element.textContent.slice(0, 60)}`);
    }
    return [document.documentElement.scrollWidth, bad];
}"""

# WCAG 2: text has 4.5 times the contrast of its background, large text 3 times.
CONTRAST = """() => {
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
    const bad = [], seen = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.textContent.trim() || element.closest('svg, script') || !element.getClientRects().length) continue;
        let under = element;
        while (under && parse(getComputedStyle(under).backgroundColor)[3] === 0) under = under.parentElement;
        const style = getComputedStyle(element), ground = getComputedStyle(under || document.body).backgroundColor;
        const [one, other] = [light(parse(style.color)), light(parse(ground))].sort((a, b) => b - a);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
        const ratio = (one + 0.05) / (other + 0.05);
        seen.add(style.color);
        if (ratio < (large ? 3 : 4.5)) bad.push(`${ratio.toFixed(2)} ${style.color} on ${ground}: ${element.textContent.slice(0, 40)}`);
    }
    return [seen.size, bad];
}"""

STRUCTURE = """() => ({
    levels: [...document.querySelectorAll('h1, h2, h3, h4')].map((heading) => Number(heading.tagName[1])),
    headers: [...document.querySelectorAll('th')].filter((header) => !header.scope).length,
    tables: [...document.querySelectorAll('table')].filter((table) => !table.tHead || !table.tBodies[0].rows.length).length,
    images: [...document.querySelectorAll('svg')].filter((svg) => !svg.querySelector('title')?.textContent).length,
    links: [...document.querySelectorAll('a')].filter((link) => !document.getElementById(link.hash.slice(1))).length,
    ids: document.querySelectorAll('[id]').length - new Set([...document.querySelectorAll('[id]')].map((it) => it.id)).size,
})"""


def opened(browser, page, width, scheme="light", **options):
    """The page in a browser, and what the browser asked for and complained about."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    tab, seen = context.new_page(), []
    tab.on("request", lambda request: seen.append(request.url))
    tab.on("console", lambda message: seen.append(message.text))
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.on("dialog", lambda dialog: seen.append(dialog.message))
    tab.goto(page.as_uri())
    return tab, seen


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_all_of_it_and_loads_nothing(report, browser, width, scheme):
    tab, seen = opened(browser, report, width, scheme)
    # Everything that a person can open.
    tab.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
    for button in tab.query_selector_all("button.more"):
        button.click()
    assert tab.evaluate(OVERFLOW) == [width, []]
    colours, low = tab.evaluate(CONTRAST)
    assert colours >= 3 and not low, low
    assert seen == [report.as_uri()]
    tab.context.close()


def test_its_structure_is_that_of_a_document(report, browser):
    tab, _ = opened(browser, report, 1280)
    structure = tab.evaluate(STRUCTURE)
    levels = structure.pop("levels")
    assert levels[0] == 1 and levels.count(1) == 1 and levels.count(2) >= 8, levels
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    assert structure == {"headers": 0, "tables": 0, "images": 0, "links": 0, "ids": 0}
    tab.context.close()


def test_without_scripts_everything_is_there(report, browser):
    tab, _ = opened(browser, report, 1280, java_script_enabled=False)
    rows = tab.locator("table[data-sql=domains] tbody tr")
    assert rows.count() > 12 and all(row.is_visible() for row in rows.all())
    tab.context.close()


def test_a_click_sorts_a_table_by_its_values(report, browser):
    tab, seen = opened(browser, report, 1280)
    table = tab.locator("table[data-sql=domains]")
    table.locator("thead th", has_text="Rank").locator("button").click()
    values = table.locator("tbody tr td:nth-of-type(4) data").evaluate_all("(found) => found.map((it) => Number(it.value))")
    assert values == sorted(values, reverse=True) and len(set(values)) > 3
    assert seen == [report.as_uri()]
    tab.context.close()


def test_a_lake_in_a_bucket_has_the_same_numbers(backlake, lake, s3, bucket, folder):
    for file in lake.rglob("*"):
        if file.is_file():
            s3.client.upload_file(str(file), bucket, f"lake/{file.relative_to(lake)}")
    pages = [folder / "here.html", folder / "there.html"]
    backlake("report", lake, "--out", pages[0])
    backlake("report", f"s3://{bucket}/lake", "--out", pages[1], env=s3.env)
    here, there = (Numbers(page.read_text()) for page in pages)
    assert here.values == there.values and here.queries == there.queries
