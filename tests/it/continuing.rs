//! A later start continues from the ledger: nothing is paid for twice, even if objects of the
//! ledger are damaged.

use arrow::array::AsArray as _;
use backlake::contract::Table;
use backlake::error::ErrorKind;
use backlake::fate::Fates;
use backlake::money::Usd;
use backlake::pipeline::run;
use backlake::simulator::{Behaviour, Scripted};

use crate::harness::{Site, simulator, surroundings};
use crate::scripted::{kind, pages, published};

#[tokio::test(start_paused = true)]
async fn a_start_with_other_settings_does_not_continue_a_snapshot() {
    let mut site = Site::new(pages(1500))
        .with("[budget]\nmax_cost_usd = \"0.07\"\n[request]\nrank_scale = \"one_hundred\"");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Budget));
    // Responses count in the report, although they are not flattened yet.
    let report = end.report;
    assert_eq!(report.items, report.fates.returned + report.unmatched);
    assert_eq!(report.fates.returned + report.fates.absent, 1000);
    assert!(
        report.fates.returned > 900 && end.error.unwrap().hint().contains("--snapshot 2026-11-23")
    );
    site = site.replaced("one_hundred", "one_thousand");
    let error = site.run(&simulator, &clock).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(
        error
            .to_string()
            .contains("rank_scale was one_hundred, now one_thousand"),
        "{error}"
    );
    assert_eq!(simulator.ledger().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_ledger_is_worked_around_and_its_responses_are_fetched_again() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    let broken = |path: &str| std::fs::write(site.lake().join(path), "").unwrap();
    // A power cut can leave empty files.
    broken("_runs/2026-11-23/attempts/00001-1.json");
    broken("_runs/2026-11-23/attempts/00000-1.json");
    broken("_archive/2026-11-23/00000-1.json.zst");
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    let asked: usize = simulator.ledger().iter().map(|charge| charge.targets).sum();
    assert_eq!((end.report.requests, asked), (3, 1500));

    std::fs::remove_file(site.lake().join("_snapshots/2026-11-23.json")).unwrap();
    broken("_archive/2026-11-23/00002-1.json.zst");
    let end = site.run(&simulator, &clock).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::Held);
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(
        simulator.ledger().len(),
        3,
        "the damaged response is fetched again, once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bit_that_flips_before_the_attempt_is_recorded_is_noticed() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    let attempt = site.lake().join("_runs/2026-11-23/attempts/00001-1.json");
    std::fs::remove_file(attempt).unwrap();
    let response = site.lake().join("_archive/2026-11-23/00001-1.json.zst");
    let mut bytes = std::fs::read(&response).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&response, bytes).unwrap();
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(end.report.fates.unsent + end.report.fates.failed, 0);
    let asked: usize = simulator.ledger().iter().map(|charge| charge.targets).sum();
    assert_eq!(
        asked, 2000,
        "the 500 targets of the response are asked for again"
    );
    let requests = site.table(Table::Requests);
    let messages = requests.column_by_name("status_message").unwrap();
    let mut messages = messages.as_string::<i32>().iter().flatten();
    assert!(
        messages.any(|message| message.contains("failed to decompress")),
        "{requests:?}"
    );
    // The provider's task list says what the damaged response has cost, and a replay does not forget it.
    let cost = site.manifest()["requests"]["cost_usd"].clone();
    let files = site.published_files();
    std::fs::remove_file(site.lake().join("_snapshots/2026-11-23.json")).unwrap();
    site.replay(&simulator, &clock).await.unwrap();
    assert_eq!(site.manifest()["requests"]["cost_usd"], cost);
    assert!(site.published_files() == files);
}

#[tokio::test(start_paused = true)]
async fn without_its_intent_a_response_is_kept_and_its_number_is_not_reused() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    std::fs::write(
        site.lake()
            .join("_runs/2026-11-23/intents/00001-1.json.zst"),
        "",
    )
    .unwrap();
    let paid = site.lake().join("_archive/2026-11-23/00001-1.json.zst");
    let before = std::fs::read(&paid).unwrap();
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(
        std::fs::read(paid).unwrap(),
        before,
        "a paid response was overwritten"
    );
    let ledger = simulator.ledger();
    assert_eq!(
        end.report.cost_usd,
        ledger.iter().map(|charge| charge.cost).sum()
    );
    // The rows of the response without an intent are kept, in addition to those of the new
    // response.
    assert_eq!(
        end.report.items,
        ledger.iter().map(|charge| charge.items as u64).sum::<u64>()
    );
    assert_eq!(end.report.unmatched, ledger[0].items as u64);
}

#[tokio::test(start_paused = true)]
async fn after_the_list_changes_only_new_targets_are_asked_for() {
    let mut site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    let archived = simulator.ledger()[0].items as u64;
    // Two of the targets with a response stay in the list, and one target is new.
    let path = site.write(
        "other.txt",
        "https://example.com/999\nhttps://example.com/998\nhttps://example.com/new\n",
    );
    site = site.with_targets(&format!("paths = [\"{}\"]", path.display()));
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    assert_eq!(end.report.lines, 3);
    let Fates {
        returned, absent, ..
    } = end.report.fates;
    assert_eq!(returned + absent, 3);
    // Rows that were paid for are kept, although no line asks for them.
    assert!(
        end.report.unmatched >= archived - 2 && end.report.items == returned + end.report.unmatched
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_with_two_responses_has_one_row_that_counts() {
    let site = Site::new(pages(1500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script([Scripted::code(50000)]);
    site.run(&simulator, &clock).await.unwrap();
    // Two owners of the snapshot that do not see each other would leave this.
    let ledger = site.lake().join("_runs/2026-11-23");
    let copy = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let bytes = std::fs::read(site.lake().join(name)).unwrap();
        std::fs::write(
            site.lake().join(name.replace("00001-1", "00009-1")),
            change(bytes),
        )
        .unwrap();
    };
    let renumbered = |json: &[u8]| {
        let mut json: serde_json::Value = serde_json::from_slice(json).unwrap();
        json["id"]["batch"] = 9.into();
        json.to_string().into_bytes()
    };
    copy("_archive/2026-11-23/00001-1.json.zst", &|bytes| bytes);
    copy("_runs/2026-11-23/attempts/00001-1.json", &|bytes| {
        renumbered(&bytes)
    });
    copy("_runs/2026-11-23/intents/00001-1.json.zst", &|bytes| {
        zstd::encode_all(
            renumbered(&zstd::decode_all(bytes.as_slice()).unwrap()).as_slice(),
            3,
        )
        .unwrap()
    });
    assert!(ledger.join("intents/00009-1.json.zst").exists());
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    let twice = simulator.ledger()[0].items as u64;
    assert_eq!((end.report.unmatched, end.report.fates.unsent), (twice, 0));
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_at_a_signal_are_drained_and_settled_by_the_next_start() {
    let site = Site::new(pages(3000)).with("[api]\ndrain_seconds = 40");
    let latency = std::time::Duration::from_secs(60);
    let (simulator, clock) = simulator(Behaviour {
        latency,
        ..Behaviour::default()
    })
    .await;
    let env = surroundings(&simulator, &clock);
    let pipeline = site.pipeline(&simulator.url());
    let stop = env.stop.clone();
    let signal = async {
        clock.sleep(std::time::Duration::from_secs(5)).await;
        stop.request(backlake::stop::StopReason::Terminated);
    };
    let (end, ()) = tokio::join!(run(&pipeline, Default::default(), &env), signal);
    let end = end.unwrap();
    assert_eq!(
        (kind(&end), clock.running().as_secs()),
        (Some(ErrorKind::Terminated), 55)
    );
    // Nothing shows yet that the responses can be used, so two requests are in flight.
    assert_eq!((end.report.requests, end.report.fates.unsent), (2, 3000));
    assert!(end.report.cost_unknown_usd > Usd::ZERO);
    // The provider ran them anyway: they are fetched again, and both charges are in the ledger.
    clock.sleep(latency).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    published(&end);
    let charged: Usd = simulator.ledger().iter().map(|charge| charge.cost).sum();
    assert_eq!(
        (end.report.cost_usd, end.report.cost_unknown_usd),
        (charged, Usd::ZERO)
    );
    assert_eq!(simulator.ledger().len(), 5);
}
