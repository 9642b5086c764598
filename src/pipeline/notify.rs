//! Tells a webhook how a run ended: `[notify]`. Whatever fails here is a warning and changes nothing.

use std::time::Duration;

use tracing::warn;
use url::Url;

use super::notice::Notice;
use super::ready::Pipeline;
use super::report::RunEnd;
use super::surroundings::Surroundings;
use crate::clock::Clock;
use crate::error::Result;
use crate::fetch::{is_downloadable, post_json};
use crate::stop::Stop;

/// How often a notice is sent, and how long to wait in between.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Does the work of a run, and tells the webhook how it ended.
pub(super) async fn with_notice(
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    work: impl Future<Output = Result<RunEnd>>,
) -> Result<RunEnd> {
    let mut end = work.await;
    let Some(variable) = &pipeline.notify.url_env else {
        return end;
    };
    let Some(notice) = Notice::of(pipeline, end.as_ref()) else {
        return end;
    };
    if let Err(why) = send(variable, &notice.json(pipeline.notify.format), env).await {
        warn!("failed to tell the webhook how the run ended: {why}");
        if let Ok(end) = &mut end {
            let warning = format!("failed to tell the webhook how the run ended: {why}");
            end.report.warnings.push(warning);
        }
    }
    end
}

/// Sends a notice, a few times if it must. No message contains the URL, which is a secret.
async fn send(variable: &str, json: &str, env: &Surroundings<'_>) -> Result<(), String> {
    let Some(url) = (env.variable)(variable).filter(|url| !url.is_empty()) else {
        return Err(format!("{variable} is not set"));
    };
    let url = url.trim().parse::<Url>().ok().filter(is_downloadable);
    let Some(url) = url else {
        return Err(format!("{variable} is not an https:// URL"));
    };
    let post = || post_json(&url, None, json.to_owned(), &env.clock);
    retried(&env.clock, &env.stop, post).await.map_err(|error| {
        let cause = std::error::Error::source(&error);
        let cause = cause.map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    })
}

/// Posts until it succeeds, a few times at most. Someone who stops the run does not wait for it.
async fn retried(clock: &Clock, stop: &Stop, post: impl AsyncFn() -> Result<()>) -> Result<()> {
    let mut waits = WAITS.into_iter();
    loop {
        let Err(error) = post().await else {
            return Ok(());
        };
        match waits.next().filter(|_| stop.reason().is_none()) {
            Some(wait) => clock.sleep(wait).await,
            None => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::Error;
    use crate::stop::StopReason;

    #[tokio::test(start_paused = true)]
    async fn a_webhook_is_tried_three_times_and_once_if_the_run_was_stopped() {
        for (failures, is_stopped, tries, seconds, succeeds) in [
            (0, false, 1, 0, true),
            (2, false, 3, 6, true),
            (3, false, 3, 6, false),
            (1, true, 1, 0, false),
        ] {
            let (clock, stop) = (Clock::system(), Stop::default());
            if is_stopped {
                stop.request(StopReason::Terminated);
            }
            let tried = Cell::new(0);
            let post = async || {
                tried.set(tried.get() + 1);
                match tried.get() > failures {
                    true => Ok(()),
                    false => Err(Error::unexpected("the server responded with 503")),
                }
            };
            let sent = retried(&clock, &stop, post).await;
            assert_eq!((sent.is_ok(), tried.get()), (succeeds, tries));
            assert_eq!(clock.running().as_secs(), seconds);
        }
    }
}
