//! `simulate`: serve the simulated provider on loopback, or publish simulated nights.

use std::num::NonZeroU32;

use chrono::NaiveDate;
use clap::Args;

use super::args::{nights, whole};
use super::console::{Console, Failure, print};
use super::simulate_nights::Nights;
use crate::clock::date;
use crate::simulator::{Behaviour, LOGIN, PASSWORD, Simulator};

const EXAMPLES: &str = "\
Examples:
  backlake simulate
  backlake simulate --nights 29 --stories pages.toml
  backlake simulate --port 0 --seed 7 --date 2026-11-23 --latency-ms 500";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct SimulateArgs {
    /// The port on loopback; 0 takes any free port
    #[arg(long, default_value_t = 8642, value_parser = port, allow_negative_numbers = true)]
    port: u16,
    /// The seed from which all data is generated
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>, allow_negative_numbers = true)]
    seed: u64,
    /// The date of the simulated data; with --nights, the last one (default: today in UTC)
    #[arg(long, value_name = "DATE", value_parser = date)]
    date: Option<NaiveDate>,
    /// Let something happen in the data: seasons, link attacks, moved sites, dying pages, updates of
    /// the index
    #[arg(long)]
    stories: bool,
    /// How long each response takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = whole::<u64>, allow_negative_numbers = true)]
    latency_ms: u64,
    /// Publish this many nights of the pipeline file instead of serving; it must ask the simulator
    #[arg(long, value_name = "N", value_parser = nights, requires = "file", conflicts_with_all = ["port", "seed", "latency_ms"])]
    nights: Option<NonZeroU32>,
    /// The pipeline file whose nights to publish
    #[arg(requires = "nights")]
    file: Option<String>,
    /// Replace [lake] url of the pipeline file
    #[arg(long, env = "BACKLAKE_LAKE", value_name = "URL")]
    lake: Option<String>,
}

impl SimulateArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        if let (Some(nights), Some(file)) = (self.nights, self.file) {
            let nights = Nights {
                file,
                lake: self.lake,
                last: self.date.unwrap_or_else(|| console.clock.today()),
                nights,
                stories: self.stories,
            };
            return nights.publish(console).await;
        }
        let behaviour = Behaviour {
            seed: self.seed,
            date: self.date,
            stories: self.stories,
            latency: std::time::Duration::from_millis(self.latency_ms),
            ..Behaviour::default()
        };
        let simulator = Simulator::start(behaviour, &console.clock, self.port).await?;
        // On standard output, so that a script can wait for this line and read the port.
        print(&format!(
            "simulating the provider at {} (login {LOGIN}, password {PASSWORD})\n",
            simulator.url()
        ))?;
        Ok(simulator.serve().await?)
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "not a port; write a number from 0 to 65535".to_owned())
}
