//! Values of flags: durations, times, and secrets that come by value, file or standard input.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use crate::failure::Failure;
use crate::flags::present;

/// Where Kubernetes puts a pod's token.
const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The most that is read from a file or standard input.
const MAX_SECRET: u64 = 1024 * 1024;

/// What a bare number counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Minutes,
    Seconds,
}

/// `15`, in the flag's own unit, or `15m`, `1h30m`, `900s`.
pub(crate) fn duration(
    flag: &str,
    text: &str,
    unit: Unit,
) -> Result<prost_types::Duration, Failure> {
    let text = present(flag, text)?;
    let wrong = || {
        Failure::usage(format!(
            "{flag}: `{text}` is neither a number of {} nor a duration such as 15m",
            match unit {
                Unit::Minutes => "minutes",
                Unit::Seconds => "seconds",
            }
        ))
    };
    let duration = match text.parse::<i64>() {
        Ok(number) => match unit {
            Unit::Minutes => number.checked_mul(60).map(SignedDuration::from_secs),
            Unit::Seconds => Some(SignedDuration::from_secs(number)),
        }
        .ok_or_else(wrong)?,
        Err(_) => text.parse().map_err(|_| wrong())?,
    };
    Ok(postern_proto::convert::time::duration(duration))
}

/// Seconds since 1970 (0: never), an RFC 3339 time, or a duration from now.
pub(crate) fn time(
    flag: &str,
    text: &str,
    now: Timestamp,
) -> Result<Option<prost_types::Timestamp>, Failure> {
    let text = present(flag, text)?;
    let wrong = || {
        Failure::usage(format!(
            "{flag}: `{text}` is neither Unix seconds, nor a time such as 2027-01-31T12:00:00Z, nor a duration such as 24h"
        ))
    };
    let time = match text.parse::<i64>() {
        Ok(0) => return Ok(None),
        Ok(seconds) => Timestamp::from_second(seconds).map_err(|_| wrong())?,
        Err(_) => match text.parse::<Timestamp>() {
            Ok(time) => time,
            Err(_) => {
                let from_now: SignedDuration = text.parse().map_err(|_| wrong())?;
                now.checked_add(from_now).map_err(|_| wrong())?
            }
        },
    };
    Ok(Some(postern_proto::convert::time::timestamp(time)))
}

/// A secret from a flag's value or from the file of its `-file` form (`-`: standard input).
///
/// `None` when neither was given.
pub(crate) fn secret(
    flag: &str,
    value: Option<&str>,
    file: Option<&str>,
) -> Result<Option<SecretString>, Failure> {
    match (value, file) {
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "{flag} and {flag}-file exclude each other"
        ))),
        (Some(value), None) => present(flag, value).map(|v| Some(SecretString::from(v))),
        (None, Some(path)) => read(&format!("{flag}-file"), path).map(Some),
        (None, None) => Ok(None),
    }
}

/// A text and the flag that it came by: the value of one, or the content of the other's file.
pub(crate) fn text_or<'f>(
    (flag, value): (&'f str, Option<&str>),
    (file_flag, path): (&'f str, Option<&str>),
) -> Result<Option<(&'f str, String)>, Failure> {
    match (value, path) {
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "{flag} and {file_flag} exclude each other"
        ))),
        (Some(value), None) => Ok(Some((flag, present(flag, value)?))),
        (None, Some(path)) => {
            let text = read(file_flag, path)?;
            Ok(Some((file_flag, text.expose_secret().to_owned())))
        }
        (None, None) => Ok(None),
    }
}

/// A time that a server sent.
pub(crate) fn timestamp(time: &prost_types::Timestamp) -> Option<Timestamp> {
    postern_proto::convert::time::from_timestamp(time).ok()
}

/// A text from a flag's value or file, for what is no secret.
pub(crate) fn text(
    flag: &str,
    value: Option<&str>,
    file: Option<&str>,
) -> Result<Option<String>, Failure> {
    Ok(secret(flag, value, file)?.map(|s| s.expose_secret().to_owned()))
}

/// What stands in a file, or comes from standard input for `-`; neither may be empty.
pub(crate) fn read(flag: &str, path: &str) -> Result<SecretString, Failure> {
    let path = present(flag, path)?;
    let mut content = String::new();
    let result = if path == "-" {
        std::io::stdin()
            .lock()
            .take(MAX_SECRET)
            .read_to_string(&mut content)
    } else {
        std::fs::File::open(Path::new(&path))
            .and_then(|file| file.take(MAX_SECRET).read_to_string(&mut content))
    };
    result.map_err(|error| Failure::usage(format!("{flag}: {path}: {error}")))?;
    if content.trim().is_empty() {
        return Err(Failure::usage(format!("{flag}: {path} is empty")));
    }
    Ok(SecretString::from(content.trim()))
}

/// The service-account token of `--k8s-service-account-token` or of its file; else the mounted one.
pub(crate) fn pods_token(value: Option<&str>, file: Option<&str>) -> Result<SecretString, Failure> {
    const FLAG: &str = "--k8s-service-account-token";
    let token = match secret(FLAG, value, file)? {
        Some(token) => token,
        None if Path::new(MOUNTED).exists() => read(FLAG, MOUNTED)?,
        None => {
            return Err(Failure::usage(format!(
                "there is no token in {MOUNTED}: this isn't a pod"
            ))
            .hint("give one with --k8s-service-account-token-file"));
        }
    };
    Ok(SecretString::from(service_account_token(
        token.expose_secret(),
    )))
}

/// A service-account token as it is or in base64, as `kubectl get secret` shows it.
pub(crate) fn service_account_token(text: &str) -> String {
    if text.contains('.') {
        return text.to_owned();
    }
    let decoded = STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded {
        Some(token) if token.contains('.') => token.trim().to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str, unit: Unit) -> Option<i64> {
        duration("--x", text, unit).ok().map(|d| d.seconds)
    }

    #[test]
    fn a_bare_number_has_the_flags_unit_and_others_their_own() {
        assert_eq!(seconds("15", Unit::Minutes), Some(900));
        assert_eq!(seconds("15", Unit::Seconds), Some(15));
        assert_eq!(seconds("15m", Unit::Seconds), Some(900));
        assert_eq!(seconds("1h30m", Unit::Minutes), Some(5400));
        for wrong in ["", "m", "15x", "abc", "99999999999999999999"] {
            assert_eq!(seconds(wrong, Unit::Minutes), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_unix_rfc_3339_or_from_now() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let at = |text| {
            time("--x", text, now)
                .unwrap()
                .map(|t| t.seconds - now.as_second())
        };
        assert_eq!(at("0"), None);
        assert_eq!(at("15m"), Some(900));
        assert_eq!(at("2026-11-23T12:00:01Z"), Some(1));
        assert_eq!(at(&(now.as_second() + 5).to_string()), Some(5));
        assert!(time("--x", "tomorrow", now).is_err());
    }

    #[test]
    fn a_token_may_come_in_base64() {
        let token = "aaa.bbb.ccc";
        assert_eq!(service_account_token(token), token);
        assert_eq!(service_account_token(&STANDARD.encode(token)), token);
        assert_eq!(service_account_token("garbage"), "garbage");
    }
}
