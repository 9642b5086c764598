//! Reads credentials from the environment only: from a variable, or from a file that a variable
//! names.

use std::path::Path;

use secrecy::SecretString;

use crate::error::{Context, Error, Result};
use crate::fetch::Credentials;
use crate::files::read_text;
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
                let value = read_text(Path::new(&path))
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

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_password_file_is_read_without_what_an_editor_adds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (content, expected) in [
            ("pass word", Some("pass word")),
            ("password\r\n", Some("password")),
            ("\u{feff}password\n", Some("password")),
            (" \u{feff} password", Some("password")),
            ("pass\u{feff}word", Some("pass\u{feff}word")),
            ("\u{feff}\n", None),
            ("", None),
        ] {
            std::fs::write(&file, content).unwrap();
            let variable = |name: &str| match name {
                "DATAFORSEO_LOGIN" => Some("login".to_owned()),
                "DATAFORSEO_PASSWORD_FILE" => Some(file.display().to_string()),
                _ => None,
            };
            let read = credentials("https://api.example.com", variable).ok();
            let password = read.as_ref().map(|read| read.password.expose_secret());
            assert_eq!(password, expected, "{content:?}");
        }
    }
}
