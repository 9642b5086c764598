//! `simulate`: the simulated provider, alone.

use chrono::NaiveDate;
use clap::Args;

use super::output;
use crate::clock::Clock;
use crate::error::Result;
use crate::simulator::{Behaviour, LOGIN, PASSWORD, Simulator};

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// The port on loopback; 0 takes any that is free
    #[arg(long, default_value_t = 8642)]
    port: u16,
    /// Decides the whole population
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The day it pretends it is; by default today
    #[arg(long, value_name = "DATE")]
    date: Option<NaiveDate>,
    /// How long it works on a task, in milliseconds
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

pub(super) async fn simulate(args: SimulateArgs, clock: &Clock) -> Result<()> {
    let behaviour = Behaviour {
        seed: args.seed,
        date: args.date,
        latency: std::time::Duration::from_millis(args.latency_ms),
        ..Behaviour::default()
    };
    let simulator = Simulator::start(behaviour, clock, args.port).await?;
    // On standard output, so that a script can wait for it and read the port.
    output::raw(&format!(
        "simulating the provider at {} (login {LOGIN}, password {PASSWORD})\n",
        simulator.url()
    ))?;
    simulator.serve().await
}
