//! No request is sent that the budget or the balance does not cover, and the ledger agrees with the
//! provider.

use backlake::error::ErrorKind;
use backlake::money::Usd;
use backlake::pipeline::{BalanceMode, PricesFrom, RunMode, run};
use backlake::simulator::Behaviour;

use crate::harness::{Site, simulator, surroundings};
use crate::scripted::{kind, pages, published};

#[tokio::test(start_paused = true)]
async fn the_run_stops_before_the_first_request_that_the_budget_does_not_cover() {
    let site = Site::new(pages(5000)).with("[budget]\nmax_cost_usd = \"0.13\"");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Budget));
    assert_eq!(simulator.ledger().len(), 2);
    assert!(end.report.cost_usd <= "0.13".parse().unwrap());
    assert_eq!((end.report.fates.unsent, end.report.requests), (3000, 2));

    let text = site.text().replace("0.13", "1.00");
    let overrides = backlake::pipeline::Overrides {
        base_url: Some(simulator.url()),
        ..Default::default()
    };
    let pipeline =
        backlake::pipeline::Pipeline::parse("richer.toml", &text, overrides, &clock).unwrap();
    let end = run(
        &pipeline,
        Default::default(),
        &surroundings(&simulator, &clock),
    )
    .await
    .unwrap();
    published(&end);
    assert_eq!(simulator.ledger().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_balance_that_does_not_cover_the_plan_stops_the_run_before_it_sends() {
    let site = Site::new(pages(5000)).with("[api]\nmax_in_flight = 1");
    let balance = "0.20".parse().unwrap();
    let (simulator, clock) = simulator(Behaviour {
        balance,
        ..Behaviour::default()
    })
    .await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(
        (kind(&end), end.report.requests),
        (Some(ErrorKind::Account), 0)
    );
    let error = end.error.unwrap();
    assert!(
        error
            .to_string()
            .contains("balance of $0.20 does not cover")
            && error.hint().contains("--spend")
    );

    let pipeline = site.pipeline(&simulator.url());
    let mode = RunMode {
        balance: BalanceMode::SpendWhatIsLeft,
        ..RunMode::default()
    };
    let end = run(&pipeline, mode, &surroundings(&simulator, &clock))
        .await
        .unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Account));
    assert_eq!(
        (simulator.ledger().len(), end.report.fates.unsent),
        (3, 2000)
    );
    assert_eq!(end.report.requests as usize, simulator.ledger().len() + 1);
}

#[tokio::test(start_paused = true)]
async fn the_prices_of_the_account_apply_unless_the_file_has_its_own() {
    let dear = backlake::provider::Prices {
        per_request: "0.5".parse().unwrap(),
        per_row: Usd::ZERO,
    };
    let plan_of = |site: Site| async move {
        let (simulator, clock) = simulator(Behaviour {
            prices: dear,
            ..Behaviour::default()
        })
        .await;
        let pipeline = site.pipeline(&simulator.url());
        backlake::pipeline::plan(&pipeline, &surroundings(&simulator, &clock))
            .await
            .unwrap()
    };
    let report = plan_of(Site::new(pages(10))).await;
    assert_eq!(
        (
            report.cost_usd.to_string().as_str(),
            report.means.prices_from
        ),
        ("0.50", PricesFrom::Account)
    );
    assert_eq!(report.balance_covers, Some(true));
    let file = "[price]\nper_request_usd = \"0.1\"\nper_row_usd = \"0\"";
    let report = plan_of(Site::new(pages(10)).with(file)).await;
    assert_eq!(
        (
            report.cost_usd.to_string().as_str(),
            report.means.prices_from
        ),
        ("0.10", PricesFrom::File)
    );

    // Wrong prices in the file are found by the first response, and nothing more is sent.
    let site = Site::new(pages(9000)).with(&format!(
        "{file}\n[budget]\nmax_cost_usd = \"1.2\"\n[api]\nmax_in_flight = 1"
    ));
    let (simulator, clock) = simulator(Behaviour {
        prices: dear,
        ..Behaviour::default()
    })
    .await;
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Account));
    let message = end.error.unwrap().to_string();
    assert!(
        message.contains("$0.50") && message.contains("$0.10"),
        "{message}"
    );
    assert_eq!(simulator.requests(), 1);
    // The next start does not ask again before the price is settled.
    let end = site.run(&simulator, &clock).await.unwrap();
    assert_eq!(kind(&end), Some(ErrorKind::Account));
    assert_eq!(simulator.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn reconciling_finds_differences_between_ledger_and_provider() {
    let site = Site::new(pages(2500)).with("[api]\nmax_in_flight = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    published(&site.run(&simulator, &clock).await.unwrap());
    let pipeline = site.pipeline(&simulator.url());
    let reconcile = || async {
        let env = surroundings(&simulator, &clock);
        backlake::pipeline::check(&pipeline, backlake::pipeline::CheckScope::Reconcile, &env)
            .await
            .unwrap()
            .reconciled
            .unwrap()
    };
    assert_eq!(reconcile().await.different, 0);
    // One attempt is changed, and another is missing with its intent.
    let ledger = site.lake().join("_runs/2026-11-23");
    let entry = ledger.join("attempts/00001-1.json");
    let text = std::fs::read_to_string(&entry).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
    changed["cost_usd"] = "0.01".into();
    std::fs::write(entry, changed.to_string()).unwrap();
    std::fs::remove_file(ledger.join("attempts/00002-1.json")).unwrap();
    std::fs::remove_file(ledger.join("intents/00002-1.json.zst")).unwrap();
    let found = reconcile().await;
    assert_eq!(
        (found.requests, found.different),
        (2, 2),
        "{:?}",
        found.first_differences
    );
    assert!(
        found
            .first_differences
            .iter()
            .any(|line| line.contains("00001-1: $0.01 in the ledger"))
    );
    assert!(
        found
            .first_differences
            .iter()
            .any(|line| line.contains("00002-1: not in the ledger"))
    );
}
