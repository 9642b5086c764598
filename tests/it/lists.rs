//! Lists as real tools export them are read as they are meant, and content that is not a list is never
//! paid for.

use std::io::Write as _;
use std::process::Stdio;

use backlake::targets::{LineEnd, TargetList};

use crate::harness::{Site, program, text};
use crate::lists_made::{sheet, utf_16, zipped};

/// A pipeline whose only list is this file.
fn site(name: &str, bytes: &[u8], keys: &str) -> Site {
    let site = Site::new([""]);
    let path = site.write(name, bytes);
    site.with_targets(&format!("paths = [\"{}\"]\n{keys}", path.display()))
}

/// Targets with their lines.
pub(crate) type Lines<'a> = Vec<(u64, &'a str)>;

/// The targets of a list with their lines, and the number of invalid lines.
fn read(site: &Site) -> (Vec<(u64, String)>, usize) {
    let settings = site.pipeline("http://127.0.0.1:1").targets;
    let list = TargetList::read(&settings.sources, &settings.rules).unwrap();
    let targets = list.lines().filter_map(|line| match line.end {
        LineEnd::Target(id) => Some((line.place.number, list.target(id).text.into_owned())),
        LineEnd::Duplicate { .. } | LineEnd::Invalid(_) => None,
    });
    (targets.collect(), list.invalid_count())
}

const SITEMAP: &str = "<?xml version=\"1.0\"?>
<!-- made by hand -->
<s:urlset xmlns:s=\"http://www.sitemaps.org/schemas/sitemap/0.9\" xmlns:i=\"urn:image\">
<s:url><s:loc>https://a.com/?a=1&amp;b=&#50;</s:loc><i:image><i:loc>https://cdn.com/x</i:loc></i:image></s:url>
<s:url>
<s:loc>
  <![CDATA[https://a.com/?c=3&d=4]]>
</s:loc></s:url></s:urlset>";

/// A list by its name and bytes, the keys that it needs, and its targets with their lines.
pub(crate) type Readable = (&'static str, Vec<u8>, &'static str, Lines<'static>);

/// Lists that are read as they are meant.
pub(crate) fn readable() -> Vec<Readable> {
    let book: &[&[&str]] = &[
        &["Page URL", "n"],
        &["https://a.com/x", "1"],
        &["", ""],
        &["b.com", "2"],
    ];
    let a_x = "https://a.com/x";
    let both = [(2, a_x), (3, "b.com")];
    vec![
        (
            "semicolon.csv",
            b"url;client\r\nhttps://a.com/x;\"Semi;colon\"\r\nb.com;\r\n".to_vec(),
            "",
            both.to_vec(),
        ),
        (
            "pipe.csv",
            b"x|url\n1,2|https://a.com/x\n;|b.com\n".to_vec(),
            "",
            both.to_vec(),
        ),
        (
            "tab.csv",
            b"a\turl\n1\thttps://a.com/x\n2\tb.com".to_vec(),
            "",
            both.to_vec(),
        ),
        (
            "tab.tsv",
            b"Address\tTitle\nhttps://a.com/x\tA \"quoted\" title, and more\nb.com\t\n".to_vec(),
            "",
            both.to_vec(),
        ),
        (
            "set.csv",
            b"url;a,b;c\nhttps://a.com/x;1,2;3\nb.com;1,2;3\n".to_vec(),
            "delimiter = \";\"",
            both.to_vec(),
        ),
        (
            "returns.csv",
            b"url,n\rhttps://a.com/x,1\rb.com,2\r".to_vec(),
            "",
            both.to_vec(),
        ),
        (
            "mark.csv",
            b"\xef\xbb\xbfurl,n\nhttps://a.com/x,1\nb.com,2\n".to_vec(),
            "",
            both.to_vec(),
        ),
        (
            "little.csv",
            utf_16(
                "url\tn\r\n\"https://a.com/x\"\t1\r\nb.com\tcaf\u{e9}\r\n",
                true,
            ),
            "",
            both.to_vec(),
        ),
        (
            "big.txt",
            utf_16("# note\nhttps://a.com/x\nb.com", false),
            "",
            both.to_vec(),
        ),
        (
            "folded.csv",
            "n,URL\u{a0}\n1,https://a.com/x\n2,b.com"
                .as_bytes()
                .to_vec(),
            "",
            both.to_vec(),
        ),
        (
            "named.csv",
            "n,Ziel Seite\n1,https://a.com/x\n2,b.com"
                .as_bytes()
                .to_vec(),
            "column = \"ZIELSEITE\"",
            both.to_vec(),
        ),
        (
            "number.csv",
            b"n,x\n1,https://a.com/x\n2,b.com".to_vec(),
            "column = 2",
            both.to_vec(),
        ),
        (
            "rank.csv",
            b"1,a.com\n2,b.com".to_vec(),
            "header = false\ncolumn = 2",
            vec![(1, "a.com"), (2, "b.com")],
        ),
        (
            "bare.csv",
            b"a.com\nb.com".to_vec(),
            "header = false",
            vec![(1, "a.com"), (2, "b.com")],
        ),
        (
            "report.csv",
            b"\"Internal\"\n\"exported\",\"now\"\nAddress,Code\nhttps://a.com/x,200\n".to_vec(),
            "skip_lines = 2",
            vec![(4, a_x)],
        ),
        (
            "quoted.csv",
            b"url,t\na.com,\"A\n\nb.net \"\"x\"\"\"\nb.com,y\n".to_vec(),
            "",
            vec![(2, "a.com"), (5, "b.com")],
        ),
        (
            "trailing.csv",
            b"url,n\nhttps://a.com/x,1,,\nb.com\n".to_vec(),
            "",
            both.to_vec(),
        ),
        (
            "array.json",
            b"[\"https://a.com/x\",\n {\"url\": \"b.com\", \"x\": [{\"url\": \"]\"}]}\n]".to_vec(),
            "",
            vec![(1, a_x), (2, "b.com")],
        ),
        (
            "lines.ndjson",
            b"{\"Target URL\":\"https://a.com/x\"}\n\"b.com\"\n".to_vec(),
            "",
            vec![(1, a_x), (2, "b.com")],
        ),
        (
            "map.xml",
            SITEMAP.as_bytes().to_vec(),
            "",
            vec![(4, "https://a.com/?a=1&b=2"), (6, "https://a.com/?c=3&d=4")],
        ),
        ("book.xlsx", sheet(book), "", vec![(2, a_x), (4, "b.com")]),
        (
            "one.zip",
            zipped(&[
                ("folder/", b""),
                ("__MACOSX/._list.csv", b"x"),
                ("list.csv", b"url,n\nhttps://a.com/x,1\nb.com,2"),
            ]),
            "",
            both.to_vec(),
        ),
        (
            "no-format.zip",
            zipped(&[("list", b"https://a.com/x")]),
            "format = \"txt\"",
            vec![(1, a_x)],
        ),
        (
            "commas.txt",
            b"https://a.com/n,1.html\nhttps://a.com/n,2.html".to_vec(),
            "",
            vec![(1, "https://a.com/n,1.html"), (2, "https://a.com/n,2.html")],
        ),
        (
            "name.txt",
            b"https://a.com/news,link\nb.com".to_vec(),
            "",
            vec![(1, "https://a.com/news,link"), (2, "b.com")],
        ),
        (
            "set.txt",
            b"https://a.com/p;x\nhttps://a.com/q;y".to_vec(),
            "format = \"txt\"",
            vec![(1, "https://a.com/p;x"), (2, "https://a.com/q;y")],
        ),
    ]
}

#[test]
fn a_list_is_read_as_it_is_meant() {
    for (name, bytes, keys, targets) in readable() {
        let (found, invalid) = read(&site(name, &bytes, keys));
        let found: Vec<(u64, &str)> = found.iter().map(|(n, text)| (*n, text.as_str())).collect();
        assert_eq!((found, invalid), (targets, 0), "{name}");
    }
}

#[test]
fn content_that_is_not_a_list_is_refused_before_anything_is_sent() {
    let many = |line: &str| {
        (0..100)
            .map(|n| line.replace('#', &n.to_string()))
            .collect::<String>()
    };
    let long_row = format!("url,t\na.com,\"{}", "x".repeat(1 << 20));
    let cases: Vec<(&str, Vec<u8>, &str, &[&str])> = vec![
        ("csv.txt", b"url,client\nhttps://a.com/x,ACME\n".to_vec(), "", &["looks like csv with the delimiter \",\"", "`url,client`", "format = \"csv\""]),
        ("csv.txt", b"url,client\nhttps://a.com/x,ACME\n".to_vec(), "format = \"txt\"", &["looks like csv"]),
        ("rows.txt", b"https://a.com/x;ACME;1\nhttps://a.com/y;Bolt;2\n".to_vec(), "", &["looks like csv with the delimiter \";\"", "format = \"txt\""]),
        ("page.txt", b"\n<!DOCTYPE html>\n<a href=\"https://a.com/\">x</a>\nhttps://a.com/\n".to_vec(), "", &["looks like HTML", "`<!DOCTYPE html>`"]),
        ("page.csv", b"<html>\nurl,x\n".to_vec(), "", &["looks like HTML"]),
        ("page.json", b"<html>".to_vec(), "", &["looks like HTML"]),
        ("map.txt", SITEMAP.as_bytes().to_vec(), "", &["looks like a sitemap", "format = \"xml\""]),
        ("json.txt", b"[\n\"https://a.com/\"]".to_vec(), "", &["looks like JSON", ".json"]),
        ("book.csv", sheet(&[&["url"]]), "", &["looks like a zip archive or an Excel workbook", ".xlsx"]),
        ("unmarked.csv", utf_16("url\tn\n", true)[2..].to_vec(), "", &["UTF-16 without a byte order mark", "UTF-8"]),
        ("odd.csv", b"url,t\na.com,\"12 inch\nb.com,\"x\"\n".to_vec(), "", &["line 2: a quote opens a field", "on line 3"]),
        ("even.csv", b"url,t\nhttps://a.com/1,\"12 inch\nhttps://a.com/2,a\nhttps://a.com/3,\"7 inch\nhttps://a.com/4,b\n".to_vec(), "", &["line 2: a quote opens a field", "nothing was sent"]),
        ("hidden.csv", b"url,t\nhttps://a.com/1,\"12 inch\nhttps://a.com/2,a\nhttps://a.com/3,7 inch\"\n".to_vec(), "", &["line 2: a quote opens a field", "line 3 in it looks like a row", "`https://a.com/2,a`"]),
        ("open.csv", long_row.into_bytes(), "", &["line 2: a quote is opened and never closed"]),
        ("report.csv", b"\"Internal - \x1b[31mHTML\"\n\"exported\";\"now\"\nAddress;Code\na.com;1\n".to_vec(), "", &["the header seems to be on line 3", "line 1 `\"Internal - \\u{1b}[31mHTML\"`, line 2 `\"exported\";\"now\"`", "skip_lines = 2"]),
        ("rank.csv", b"1,a.com\n2,b.com\n".to_vec(), "", &["has no header: its first row contains `a.com`", "header = false and column = 2"]),
        ("escape.csv", b"\x1b[31mred\x1b]0;title\x07,x\nhttps://a.com/,1\n".to_vec(), "", &["no column has a name", "`\\u{1b}[31mred\\u{1b}]0;title\\u{7}`, `x`"]),
        ("two.csv", b"url,page\na.com,b.com\n".to_vec(), "", &["`url`, `page` could each contain the targets", "column"]),
        ("one-column.csv", b"url\nhttps://a.com/p;ACME\nhttps://a.com/q;Bolt\n".to_vec(), "", &["the first row has one column", "\";\""]),
        ("scheme.txt", format!("{}example.com\n", many("a.com/p#\n")).into_bytes(), "", &["100 of 101 lines are invalid", "max_invalid_ratio is 0.2", "100 × a page needs http://", "line 1: `a.com/p0`; ", "line 2: `a.com/p1`"]),
        ("commas.csv", format!("url,n\nb.com,1\n{}", many("https://a.com/p,#,2\n")).into_bytes(), "", &["100 of 101 lines are invalid", "quote the fields"]),
        ("strict.txt", b"a.com\nb\n".to_vec(), "max_invalid_ratio = 0.0", &["1 of 2 lines are invalid", "host … has a single label"]),
        ("object.json", b"{\"urls\": []}".to_vec(), "", &["line 1: an object begins", "ndjson"]),
        ("short.json", b"[\"a.com\",\n".to_vec(), "", &["line 2", "does not end"]),
        ("broken.json", b"[\"a.com\",\n b.com]".to_vec(), "", &["line 2: `b.com`", "not a JSON"]),
        ("feed.xml", b"<rss><url><loc>a</loc></url></rss>".to_vec(), "", &["its root element is `rss`", "supported are"]),
        ("short.xml", b"<urlset>\n<url><loc>https://a.com/".to_vec(), "", &["not a sitemap", "line 2"]),
        ("entity.xml", b"<urlset><url><loc>&x;</loc></url></urlset>".to_vec(), "", &["`&x;` is not an entity"]),
        ("two.zip", zipped(&[("a.txt", b"a.com"), ("b.txt", b"b.com")]), "", &["contains 2 files: `a.txt`, `b.txt`"]),
        ("bomb.zip", zipped(&[("a.txt", &vec![b'a'; 20 << 20])]), "", &["which no list does"]),
        ("bomb.xlsx", zipped(&[("a.txt", &vec![b'a'; 20 << 20])]), "", &["unpacks to too many bytes"]),
        ("book.zip", sheet(&[&["url"]]), "", &["is an Excel workbook", "format = \"xlsx\""]),
        ("broken.zip", zipped(&[("a.txt", b"a.com")])[..20].to_vec(), "", &["as a zip archive"]),
        ("sheet.xlsx", sheet(&[&["url"], &["a.com"]]), "sheet = \"Other\"", &["has no sheet `Other`; its sheets are: `Pages`"]),
        ("list.ods", b"x".to_vec(), "", &["its extension does not name a known format", "supported are txt, csv, tsv"]),
    ];
    for (name, bytes, keys, parts) in cases {
        let output = site(name, &bytes, keys).program("plan", &["-q"]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {message}");
        for part in parts {
            assert!(
                message.contains(part),
                "{name}: {part:?} is not in {message}"
            );
        }
        assert!(!message.contains('\u{1b}'), "{name}: {message:?}");
    }
}

#[test]
fn standard_input_that_is_not_a_list_of_targets_is_refused() {
    for (bytes, keys, code, part) in [
        (
            &b"url,client\nhttps://a.com/x,ACME\n"[..],
            "",
            2,
            "standard input is read as txt, but looks like csv",
        ),
        (b"<html>", "", 2, "looks like HTML"),
        (
            b"url,client\nhttps://a.com/x,ACME\n",
            "format = \"csv\"",
            0,
            "",
        ),
        (
            &zipped(&[("list.csv", b"url,client\nhttps://a.com/x,ACME\n")]),
            "",
            0,
            "",
        ),
        (&sheet(&[&["url"], &["a.com"]]), "format = \"xlsx\"", 0, ""),
        (&utf_16("https://a.com/x\n", true), "", 0, ""),
    ] {
        let site = Site::new([""]).with_targets(&format!("paths = [\"-\"]\n{keys}"));
        let file = site.write("pipeline.toml", site.text());
        let mut child = program()
            .args(["plan", "-q"])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_index_of_sitemaps_stands_for_the_files_that_it_names() {
    let index = "<sitemapindex><sitemap><loc>https://a.com/maps/one.xml</loc></sitemap>\n<sitemap><loc>https://a.com/two.xml.gz?x</loc></sitemap></sitemapindex>";
    let map = |page: &str| format!("<urlset><url><loc>https://a.com/{page}</loc></url></urlset>");
    let site = site("index.xml", index.as_bytes(), "");
    site.write("one.xml", map("1"));
    let output = site.program("plan", &["-q"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        message.contains("line 2: the index names `https://a.com/two.xml.gz?x`"),
        "{message}"
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(map("2").as_bytes()).unwrap();
    site.write("two.xml.gz", gzip.finish().unwrap());
    let (found, invalid) = read(&site);
    assert_eq!(
        found,
        [
            (1, "https://a.com/1".to_owned()),
            (1, "https://a.com/2".to_owned())
        ]
    );
    assert_eq!(invalid, 0);
}

#[test]
fn the_reports_say_which_column_was_taken_and_why_lines_are_invalid() {
    let lines: String = (0..20)
        .map(|n| format!("{n};https://a.com/{n}\n"))
        .collect();
    let site = site(
        "list.csv",
        format!("n;Top pages\n{lines};b\n;x/y\n").as_bytes(),
        "",
    );
    let output = site.program("plan", &["-q"]);
    let plan = text(&output.stdout);
    assert!(
        plan.contains("list.csv is read as csv with \";\": column `Top pages`"),
        "{plan}"
    );
    let output = site.program("run", &["--output", "json"]);
    let (report, log) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{log}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["lists"][0]["column"], "Top pages");
    assert_eq!(report["invalid_reasons"][0]["lines"], 1);
    assert!(log.contains("2 of 22 lines are invalid"), "{log}");
    assert!(
        log.contains("list.csv line 22: `b`") && log.contains("line 23: `x/y`"),
        "{log}"
    );
}
