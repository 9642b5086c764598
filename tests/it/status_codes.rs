//! What every status code does to a run: how the attempt ends, what becomes of its targets, what it
//! costs, and what the next start sends. One table shows all of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use backlake::provider::StatusClass;
use backlake::simulator::{Behaviour, Scripted};

use crate::harness::{Site, simulator};
use crate::scripted::pages;

/// Every code that the provider documents, and some that are unknown.
const CODES: [u32; 61] = [
    20000, 40000, 40001, 40002, 40003, 40004, 40005, 40006, 40007, 40100, 40101, 40102, 40103,
    40104, 40200, 40201, 40202, 40203, 40204, 40205, 40206, 40207, 40209, 40210, 40400, 40401,
    40402, 40403, 40404, 40405, 40406, 40407, 40408, 40501, 40502, 40503, 40504, 40505, 40506,
    40601, 40602, 40999, 41000, 49999, 50000, 50001, 50002, 50100, 50301, 50302, 50303, 50304,
    50305, 50401, 50402, 50999, 51000, 59999, 10000, 30000, 60000,
];

/// Where a code is, and what it costs.
#[derive(Clone, Copy)]
struct Case {
    of_the_task: bool,
    named: bool,
    cost: &'static str,
}

impl Case {
    const ALL: [Self; 6] = [
        Self::of(true, false, "0"),
        Self::of(true, true, "0"),
        Self::of(false, false, "0"),
        Self::of(true, false, "0.024"),
        Self::of(false, false, "0.024"),
        Self::of(true, false, "null"),
    ];

    const fn of(of_the_task: bool, named: bool, cost: &'static str) -> Self {
        Self {
            of_the_task,
            named,
            cost,
        }
    }

    /// The codes of the case. Only a refusal names a target.
    fn codes(self) -> impl Iterator<Item = u32> {
        let refuses = |code| {
            matches!(
                StatusClass::of(code),
                StatusClass::BatchRefused | StatusClass::UnknownRefusal
            )
        };
        CODES
            .into_iter()
            .filter(move |&code| !self.named || refuses(code))
    }

    fn title(self) -> String {
        let place = match (self.of_the_task, self.named) {
            (true, false) => "the task",
            (true, true) => "the task, naming a target",
            (false, _) => "the envelope",
        };
        let cost = match self.cost {
            "0" => "free",
            "null" => "cost unknown",
            _ => "charged",
        };
        format!("{place}, {cost}")
    }

    fn response(self, code: u32) -> Scripted {
        match (self.of_the_task, self.named) {
            (true, false) => Scripted::coded(code, self.cost),
            (true, true) => {
                let message = format!("Invalid Field: 'target' ({}).", pages(2)[1]);
                Scripted::failed(code, &message, self.cost)
            }
            (false, _) => Scripted::envelope(code, self.cost),
        }
    }

    /// Runs two targets into this code until the run ends, then once more at a provider that has
    /// recovered.
    async fn play(self, code: u32) -> String {
        let site = Site::new(pages(2)).with("[api]\nmax_in_flight = 1");
        let (simulator, clock) = simulator(Behaviour::default()).await;
        simulator.script((0..200).map(|_| self.response(code)));
        let first = site.run(&simulator, &clock).await.unwrap();
        let exit = first
            .error
            .as_ref()
            .map_or(0, |error| error.kind().exit_code());
        if let Some(error) = &first.error {
            let texts = format!("{error} {}", error.hint());
            // A success without a task is not a response, so there is no code to name.
            let named = code == 20000 || texts.contains(&code.to_string());
            assert!(named, "{code}: {texts}");
        }
        let lake = site.lake().join("_runs/2026-11-23/attempts/00000-1.json");
        let attempt: serde_json::Value =
            serde_json::from_slice(&std::fs::read(lake).unwrap()).unwrap();
        let (fates, requests) = (first.report.fates, first.report.requests);
        let mut ends = String::new();
        for (count, name) in [
            (fates.absent, "absent"),
            (fates.refused, "refused"),
            (fates.failed, "failed"),
            (fates.unsent, "unsent"),
            (fates.returned, "returned"),
        ] {
            if count > 0 {
                let _ = write!(ends, "{count} {name} ");
            }
        }
        let cost = first.report.cost_usd + first.report.cost_unknown_usd;
        simulator.replace_script([]);
        let before = simulator.requests();
        let second = site.run(&simulator, &clock).await.unwrap();
        let again = second
            .error
            .as_ref()
            .map_or(0, |error| error.kind().exit_code());
        format!(
            "{:<9} {ends:<21} sent {requests:<3} ${cost:<8} exit {exit}   then sent {}, exit {again}",
            attempt["outcome"].as_str().unwrap(),
            simulator.requests() - before,
        )
    }
}

#[test]
fn every_status_code_has_its_end() {
    let mut table = String::new();
    for case in Case::ALL {
        let mut rows: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for code in case.codes() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            let row = runtime.block_on(case.play(code));
            rows.entry(row).or_default().push(code);
        }
        let mut rows: Vec<(Vec<u32>, String)> =
            rows.into_iter().map(|(row, codes)| (codes, row)).collect();
        rows.sort();
        let _ = writeln!(table, "# {}", case.title());
        for (codes, row) in rows {
            let codes: Vec<String> = codes.iter().map(u32::to_string).collect();
            let _ = writeln!(table, "{row}\n    {}", codes.join(" "));
        }
        table.push('\n');
    }
    println!("{table}");
    insta::assert_snapshot!("status_codes", table);
}
