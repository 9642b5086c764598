//! Log lines and the progress bar, which share standard error without overwriting each other.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::global::{Global, LogFormat, Output};
use crate::error::{Context as _, Result};
use crate::secret::without_credentials;
use crate::visible::{escaped, escaped_json};

/// Standard error as a person sees it: log lines above the progress bar.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    bars: MultiProgress,
    /// Whether the bar is shown; otherwise progress goes to the log.
    interactive: bool,
    /// The format of log lines, which decides how they are escaped.
    lines: LineFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy)]
enum LineFormat {
    Plain,
    /// With colour: the subscriber writes escape sequences of its own, and escapes those of values.
    Coloured,
    Json,
}

impl LineFormat {
    /// A line, whose values may be foreign, as it is printed.
    fn printed(self, line: &str) -> String {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        let escaped = match self {
            Self::Plain => escaped(line).into_owned(),
            Self::Json => escaped_json(line).into_owned(),
            Self::Coloured => {
                let parts: Vec<_> = line.split('\u{1b}').map(escaped).collect();
                parts.join("\u{1b}")
            }
        };
        escaped + end
    }
}

/// Starts logging. `BACKLAKE_LOG` takes filters in the syntax of `tracing`; if it is wrong, logging
/// starts without it, and the error is returned, too.
pub(super) fn start(global: &Global) -> (Screen, Result<()>) {
    let interactive = io::stderr().is_terminal()
        && !global.quiet
        && global.log_format == LogFormat::Text
        && global.output == Output::Text;
    let target = if interactive {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let no_color = std::env::var_os("NO_COLOR");
    let colour = io::stderr().is_terminal() && allows_colour(no_color.as_deref());
    let screen = Screen {
        bars: MultiProgress::with_draw_target(target),
        interactive,
        lines: match global.log_format {
            LogFormat::Json => LineFormat::Json,
            LogFormat::Text if colour => LineFormat::Coloured,
            LogFormat::Text => LineFormat::Plain,
        },
    };
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) if interactive => LevelFilter::WARN,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // Other crates log only with -vv: our own lines say what matters.
    let ours = if global.verbose < 2 {
        format!("warn,backlake={level}")
    } else {
        level.to_string()
    };
    let (filter, started) = match filter() {
        Ok(filter) => (filter, Ok(())),
        Err(error) => (None, Err(error)),
    };
    let filter = filter.unwrap_or_else(|| EnvFilter::new(ours));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(screen.clone())
        .with_target(false)
        .log_internal_errors(false);
    match global.log_format {
        LogFormat::Text => lines.with_ansi(colour).init(),
        LogFormat::Json => lines.json().init(),
    }
    (screen, started)
}

/// The filters of `BACKLAKE_LOG`; none if it is empty.
fn filter() -> Result<Option<EnvFilter>> {
    let filters = std::env::var("BACKLAKE_LOG").unwrap_or_default();
    if filters.is_empty() {
        return Ok(None);
    }
    let parsed = filters
        .parse()
        .usage(|| format!("BACKLAKE_LOG: `{filters}` is not a list of filters"));
    parsed.map(Some).map_err(|error| {
        error.with_hint(
            "write it as backlake=debug, or as backlake=debug,warn; -v and -vv need no filter",
        )
    })
}

/// Whether `NO_COLOR` permits colour: it forbids it if it is set and not empty (no-color.org).
fn allows_colour(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty)
}

impl Screen {
    /// A bar with this many steps; invisible without a terminal.
    pub(super) fn bar(&self, steps: u64, template: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(steps));
        self.restyle(&bar, template);
        if self.interactive {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }

    /// Changes what a bar shows.
    pub(super) fn restyle(&self, bar: &ProgressBar, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines(self.clone())
    }
}

/// Writes log lines while the bar is hidden.
pub(super) struct Lines(Screen);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let printed = self.0.lines.printed(&without_credentials(&text));
        let write = || io::stderr().lock().write_all(printed.as_bytes());
        // A closed log must not end a run that is paid for.
        let _ = self.0.bars.suspend(write);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_value_stays_in_its_line() {
        let line = "\u{1b}[2mINFO\u{1b}[0m found a\nforged line\u{202e}\u{9b}\n";
        let end = " found a\\nforged line\\u{202e}\\u{9b}\n";
        let coloured = LineFormat::Coloured.printed(line);
        assert_eq!(coloured, format!("\u{1b}[2mINFO\u{1b}[0m{end}"));
        let plain = LineFormat::Plain.printed(line);
        assert_eq!(plain, format!("\\u{{1b}}[2mINFO\\u{{1b}}[0m{end}"));
        let json = LineFormat::Json.printed("{\"message\":\"\u{202e}\"}\n");
        assert_eq!(json, "{\"message\":\"\\u202e\"}\n");
    }

    #[test]
    fn no_color_forbids_colour_unless_it_is_empty() {
        assert!(allows_colour(None));
        assert!(allows_colour(Some(OsStr::new(""))));
        assert!(!allows_colour(Some(OsStr::new("1"))));
    }
}
