//! `sql`: a DuckDB script with views of the lake.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::output;
use crate::error::{Context as _, Result};
use crate::lake::views;
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct SqlArgs {
    /// The lake: a path, s3://, gs:// or az://
    lake: String,
    /// Write the script to this file, in place of standard output
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) async fn sql(args: &SqlArgs) -> Result<()> {
    let script = views(&Store::open(&args.lake)?).await?;
    match &args.write {
        None => output::raw(&script),
        Some(file) => {
            write(file, &script).context(|| format!("failed to write {}", file.display()))
        }
    }
}

/// Writes a file beside its place and moves it there: who reads it meanwhile reads the old one or the new one.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = OsString::from(file);
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, file));
    if written.is_err() {
        // What it would leave is nobody's.
        let _ = fs::remove_file(&beside);
    }
    written
}
