//! What is wrong with a command line, in the form of every other error: a message and a hint.

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::command::Cli;
use crate::error::Error;
use crate::secret::without_credentials;

/// The error of the parser, for these arguments of the program.
pub(super) fn usage_error(error: &clap::Error, args: &[String]) -> Error {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Error::usage("no command is given")
            .with_hint("`backlake --help` lists the commands");
    }
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(words);
    let message = paragraphs.next().unwrap_or_default();
    let message = message
        .strip_prefix("error: ")
        .unwrap_or(&message)
        .to_owned();
    // "to pass '-1' as a value, use '-- -1'" would be wrong here: no value begins with a dash.
    let tip = paragraphs.find_map(|words| Some(words.strip_prefix("tip: ")?.to_owned()));
    let tip = tip.filter(|tip| !tip.starts_with("to pass "));
    let command = command_of(args);
    let help = format!("`backlake {command}--help` shows what is allowed");
    let hint = match tip {
        Some(tip) => format!("{tip}; {help}"),
        None => help,
    };
    let message = match variable(error, args) {
        Some(variable) => format!("{variable}: {message}"),
        None => message,
    };
    Error::usage(message).with_hint(without_credentials(&hint))
}

/// A paragraph on one line.
fn words(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The command among the arguments, with a space behind it; empty if there is none.
fn command_of(args: &[String]) -> String {
    let program = Cli::command();
    let name = args
        .iter()
        .skip(1)
        .find(|arg| program.find_subcommand(arg).is_some());
    name.map_or_else(String::new, |name| format!("{name} "))
}

/// The environment variable that holds the refused value, if no argument does.
fn variable(error: &clap::Error, args: &[String]) -> Option<String> {
    let string = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (argument, value) = (
        string(ContextKind::InvalidArg)?,
        string(ContextKind::InvalidValue)?,
    );
    let flag = argument.split_whitespace().next()?;
    if args.iter().any(|arg| arg.split('=').next() == Some(flag)) {
        return None;
    }
    let mut program = Cli::command();
    program.build();
    let commands = std::iter::once(&program).chain(program.get_subcommands());
    let mut arguments = commands.flat_map(clap::Command::get_arguments);
    let variable = arguments
        .find(|found| found.to_string() == argument)?
        .get_env()?;
    let holds = std::env::var_os(variable).is_some_and(|held| held.to_string_lossy() == value);
    holds.then(|| variable.to_string_lossy().into_owned())
}
