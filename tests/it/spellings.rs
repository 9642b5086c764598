//! A line means the page or the domain that its author meant, however it is spelled, and nothing is
//! asked that the provider cannot answer.

use arrow::array::AsArray as _;
use backlake::contract::Table;
use backlake::simulator::Behaviour;

use crate::harness::{Site, simulator, text};

/// What `plan` reports about a list.
fn planned(site: &Site) -> serde_json::Value {
    let output = site.program("plan", &["-q", "--output", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_kind_of_list_gives_the_targets_that_it_means() {
    for (kind, lines, targets, invalid) in [
        (
            "disavow file and search console properties",
            &[
                "# links to ignore, exported 2026-10-01",
                "domain:spam-one.example.com",
                "domain: spam-two.example.net",
                "sc-domain:example.org",
                "https://shop.example.org/bad-page",
                "example.net/",
            ][..],
            5,
            0,
        ),
        (
            "invisible characters and their clean spelling",
            &[
                "https://www.example.com/zero-width\u{200b}",
                "https://www.example.com/zero-width",
                "https://www.example.com/no-break\u{a0}",
                "https://www.example.com/no-break",
                "\u{feff}https://www.example.com/bom-in-the-middle",
                "https://www.example.com/bom-in-the-middle",
                "exa\u{ad}mple.org",
                "example.org",
            ],
            4,
            0,
        ),
        (
            "what cannot be answered",
            &[
                "127.0.0.1",
                "10.0.0.5",
                "router.local",
                "abcdefgh.onion",
                "http://192.168.1.1/admin",
                "https://printer.internal/",
                "example.com",
                "www.gov.uk",
                "github.io",
            ],
            3,
            6,
        ),
        (
            "queries copied from HTML",
            &["https://a.com/?x=1&amp;y=2", "https://a.com/?x=1&y=2"],
            1,
            0,
        ),
    ] {
        let report = planned(&Site::new(lines));
        assert_eq!(report["targets"], targets, "{kind}: {report}");
        assert_eq!(report["invalid"], invalid, "{kind}: {report}");
    }
}

#[test]
fn the_plan_says_in_how_many_lines_an_ampersand_was_unescaped() {
    let site = Site::new([
        "https://a.com/?x=1&amp;y=2",
        "https://a.com/x&amp;y",
        "b.com",
    ]);
    assert_eq!(planned(&site)["unescaped"], 1);
    let shown = text(&site.program("plan", &["-q"]).stdout).to_owned();
    assert!(
        shown.contains("`&amp;` is read as `&` in 1 line\n"),
        "{shown}"
    );
    let log = text(&site.program("run", &[]).stderr).to_owned();
    assert!(log.contains("`&amp;` in a query is read as `&`"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_replay_derives_the_same_targets_from_the_lines_as_written() {
    let site = Site::new([
        "https://a.com/?x=1&amp;y=2",
        "domain:b.com",
        "c\u{200b}.com",
    ]);
    let (simulator, clock) = simulator(Behaviour::default()).await;
    assert!(site.run(&simulator, &clock).await.unwrap().error.is_none());
    let rows = || -> Vec<(String, String)> {
        let table = site.table(Table::Targets);
        let column = |name: &str| {
            table
                .column_by_name(name)
                .unwrap()
                .as_string::<i32>()
                .clone()
        };
        let (inputs, targets) = (column("input"), column("target"));
        let mut rows: Vec<_> = (0..table.num_rows())
            .map(|row| (inputs.value(row).to_owned(), targets.value(row).to_owned()))
            .collect();
        rows.sort();
        rows
    };
    let expected = [
        ("c\u{200b}.com", "c.com"),
        ("domain:b.com", "b.com"),
        ("https://a.com/?x=1&amp;y=2", "https://a.com/?x=1&y=2"),
    ];
    let expected = expected.map(|(input, target)| (input.to_owned(), target.to_owned()));
    assert_eq!(rows(), expected);
    assert!(
        site.replay(&simulator, &clock)
            .await
            .unwrap()
            .error
            .is_none()
    );
    assert_eq!(rows(), expected);
}

#[test]
fn what_comes_from_a_file_cannot_act_on_a_terminal_or_a_log() {
    let hostile = "\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{202e}";
    let site = Site::new([format!("https://a b/{hostile}").as_str(), "https://a.com/"]);
    let columns = site.write("list.csv", format!("{hostile},x\nhttps://example.com/,1\n"));
    let missing = site.write("c.csv", "url\nhttps://a.com/\n");
    let by_column = |path: &std::path::Path, column: &str| {
        let column: String = column
            .chars()
            .map(|c| format!("\\U{:08x}", c as u32))
            .collect();
        let lines = format!("paths = [\"{}\"]\ncolumn = \"{column}\"", path.display());
        Site::new([""]).with_targets(&lines)
    };
    for (site, command, code) in [
        (&site, "plan", 0),
        (&site, "run", 0),
        (&by_column(&columns, "url"), "plan", 2),
        (&by_column(&missing, hostile), "plan", 2),
    ] {
        for more in [
            &[][..],
            &["--output", "json"],
            &["--log-format", "json", "-vv"],
        ] {
            let output = site.program(command, more);
            assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
            for shown in [text(&output.stdout), text(&output.stderr)] {
                let acts =
                    |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
                assert!(!shown.contains(acts), "{command} {more:?}: {shown:?}");
            }
        }
    }
}
