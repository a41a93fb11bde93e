//! Where clients reach a gateway.

use std::net::IpAddr;

use url::{Host, Url};

/// Why a text can't be a gateway's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("is empty")]
    Empty,
    #[error("is not a URL: {0}")]
    NotAUrl(url::ParseError),
    #[error("must be an https URL (plain http is for loopback only)")]
    NotHttps,
    #[error("must be scheme, host and port only")]
    MoreThanAnOrigin,
}

/// The URL's origin, `https://host:port`: what an administrator's token is narrowed by.
pub(crate) fn parse(text: &str) -> Result<String, UrlError> {
    if text.trim().is_empty() {
        return Err(UrlError::Empty);
    }
    let url = Url::parse(text.trim()).map_err(UrlError::NotAUrl)?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => return Err(UrlError::NotHttps),
    }
    let user_info = !url.username().is_empty() || url.password().is_some();
    let tail = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    if user_info || tail {
        return Err(UrlError::MoreThanAnOrigin);
    }
    Ok(url.origin().ascii_serialization())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).to_canonical().is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_url_is_an_origin() {
        for (text, origin) in [
            ("https://localhost:8000", "https://localhost:8000"),
            ("https://GW.example.com/", "https://gw.example.com"),
            ("https://gw.example.com:443", "https://gw.example.com"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(origin));
        }
        for (text, error) in [
            (" ", UrlError::Empty),
            ("http://gw.example.com", UrlError::NotHttps),
            ("ftp://localhost", UrlError::NotHttps),
            ("https://u@gw", UrlError::MoreThanAnOrigin),
            ("https://gw/path", UrlError::MoreThanAnOrigin),
            ("https://gw/?q", UrlError::MoreThanAnOrigin),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert!(parse("gateway:8000").is_err());
        assert!(parse("localhost").is_err());
    }
}
