//! Reads credentials from the environment only: from a variable, or from a file that a variable
//! names.

use secrecy::SecretString;

use crate::error::{Context, Error, Result};
use crate::fetch::Credentials;
use crate::secret::shown;

/// Reads `DATAFORSEO_LOGIN` and `DATAFORSEO_PASSWORD`, or the files that `…_FILE` name. `variable`
/// returns the value of an environment variable.
///
/// # Errors
/// A variable that is missing or empty, or a file that cannot be read; the message names it.
pub fn credentials(
    base_url: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Credentials> {
    let read = |name: &str| -> Result<String> {
        let file = format!("{name}_FILE");
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let value = match (set(name), set(&file)) {
            (Some(value), _) => value,
            (None, Some(path)) => {
                let value = std::fs::read_to_string(&path)
                    .usage(|| format!("failed to read {path} ({file})"))?;
                if value.trim_start_matches('\u{feff}').trim().is_empty() {
                    return Err(Error::usage(format!("{path} ({file}) is empty")));
                }
                value
            }
            (None, None) => String::new(),
        };
        // Some editors write a byte order mark at the start of a file.
        let value = value.trim().trim_start_matches('\u{feff}').trim();
        if value.is_empty() {
            return Err(Error::usage(format!("{name} is not set, and {} needs credentials", shown(base_url))).with_hint(
                "set DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD, or DATAFORSEO_LOGIN_FILE and DATAFORSEO_PASSWORD_FILE; \
                 they are never read from the pipeline file",
            ));
        }
        Ok(value.to_owned())
    };
    Ok(Credentials {
        login: read("DATAFORSEO_LOGIN")?,
        password: SecretString::from(read("DATAFORSEO_PASSWORD")?),
    })
}
