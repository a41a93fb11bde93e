//! Who is calling: what the connection and the headers say, and the credentials they carry.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use crate::forwarded::TrustedProxies;
use crate::request_id::RequestId;
use crate::server::Peer;
use crate::tls::ClientCertificate;

/// Metadata key of the administrator's token that a gateway passes on.
pub const ON_BEHALF_OF: &str = "postern-on-behalf-of";

/// Longer tokens aren't ours. A JWT grows with its roles.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_USER_AGENT_CHARS: usize = 64;

/// One request's caller, as audit records name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The connection's peer, or whom a trusted proxy names; canonical: `::ffff:10.0.0.1` is
    /// `10.0.0.1`. `None` when unknown, which no address limit lets pass.
    pub ip: Option<IpAddr>,
    /// At most 64 printable characters. `None` when absent, or when it looks as if it held a token.
    pub user_agent: Option<String>,
    pub request_id: RequestId,
    /// The one that the connection's client showed, if it was asked for one. Who it speaks for is
    /// asked at each use.
    pub certificate: Option<ClientCertificate>,
}

impl Caller {
    pub(crate) fn new(
        peer: Option<&Peer>,
        proxies: &TrustedProxies,
        headers: &HeaderMap,
        request_id: RequestId,
    ) -> Self {
        Self {
            ip: proxies.caller(peer.map(|peer| peer.addr.ip()), headers),
            user_agent: user_agent(headers),
            request_id,
            certificate: peer.and_then(|peer| peer.certificate.clone()),
        }
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let printable = |b: &u8| b.is_ascii_graphic() || *b == b' ';
    let bytes = headers.get(header::USER_AGENT)?.as_bytes();
    let text: String = bytes
        .iter()
        .copied()
        .filter(printable)
        .map(char::from)
        .collect();
    // Looked for in all that could be printed: a cut, or what is left out in the middle, would hide what follows.
    if text.contains("eyJ") {
        return None;
    }
    Some(text.chars().take(MAX_USER_AGENT_CHARS).collect())
}

/// An access token as a call carries it.
#[derive(Clone)]
pub struct BearerToken(SecretString);

/// A header that should carry a token and doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed credential")]
pub struct Malformed;

impl BearerToken {
    /// Nothing is checked here: a server compares it with what it knows.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into().into())
    }

    /// For comparing and for sending on; never for text.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The token of `authorization: Bearer …`; `None` when there is no such header.
    ///
    /// # Errors
    /// The header is there twice, or is anything else.
    pub fn from_authorization(headers: &HeaderMap) -> Result<Option<Self>, Malformed> {
        let Some(value) = single(headers, header::AUTHORIZATION.as_str())? else {
            return Ok(None);
        };
        let (scheme, token) = value.split_once(' ').ok_or(Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Malformed);
        }
        Self::checked(token).map(Some)
    }

    /// The token of `postern-on-behalf-of`; `None` when there is no such header.
    ///
    /// # Errors
    /// The header is there twice, or holds no token.
    pub fn from_on_behalf_of(headers: &HeaderMap) -> Result<Option<Self>, Malformed> {
        single(headers, ON_BEHALF_OF)?
            .map(Self::checked)
            .transpose()
    }

    fn checked(token: &str) -> Result<Self, Malformed> {
        let plain = token.bytes().all(|b| b.is_ascii_graphic());
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !plain {
            return Err(Malformed);
        }
        Ok(Self::new(token))
    }

    /// `None` for a token with characters that no header can hold.
    pub(crate) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.expose())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken([redacted])")
    }
}

fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Malformed);
    }
    value.to_str().map(Some).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn caller(peer: &str, user_agent: &str) -> Caller {
        let headers = headers(&[("user-agent", user_agent)]);
        let proxies = TrustedProxies::default();
        let peer = peer.parse().ok().map(|addr| Peer {
            addr,
            certificate: None,
        });
        Caller::new(peer.as_ref(), &proxies, &headers, RequestId::generate())
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        let ip = |peer| caller(peer, "x").ip.map(|ip| ip.to_string());
        assert_eq!(ip("[::ffff:10.0.0.1]:9").as_deref(), Some("10.0.0.1"));
        assert_eq!(ip("10.0.0.1:9").as_deref(), Some("10.0.0.1"));
        assert_eq!(ip("[2001:db8::1]:9").as_deref(), Some("2001:db8::1"));
        assert_eq!(ip("unknown"), None);
    }

    #[test]
    fn a_user_agent_is_cut_and_never_holds_a_token() {
        assert_eq!(
            caller("", "grpcurl/1.8").user_agent.as_deref(),
            Some("grpcurl/1.8")
        );
        assert_eq!(
            caller("", &"a".repeat(300)).user_agent.map(|ua| ua.len()),
            Some(64)
        );
        assert_eq!(caller("", "x eyJhbGciOiJSUzI1NiJ9").user_agent, None);
        assert_eq!(
            caller("", &format!("{}eyJhbGci", "a".repeat(100))).user_agent,
            None
        );
        assert_eq!(caller("", "a\tb").user_agent.as_deref(), Some("ab"));
        assert_eq!(caller("", "x e\tyJhbGciOiJSUzI1NiJ9").user_agent, None);
    }

    proptest! {
        #[test]
        fn headers_of_any_bytes_name_a_caller_without_a_token(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'e'), Just(b'y'), Just(b'J')], 0..200),
        ) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in ["user-agent", "authorization", ON_BEHALF_OF] {
                    headers.insert(name, value.clone());
                }
            }
            if let Some(user_agent) = Caller::new(None, &TrustedProxies::default(), &headers, RequestId::generate()).user_agent {
                prop_assert!(user_agent.len() <= 64 && !user_agent.contains("eyJ"));
                prop_assert!(user_agent.bytes().all(|b| (b' '..=b'~').contains(&b)));
            }
            for token in [BearerToken::from_authorization(&headers), BearerToken::from_on_behalf_of(&headers)] {
                let Ok(Some(token)) = token else { continue };
                prop_assert!((1..=MAX_TOKEN_BYTES).contains(&token.expose().len()));
                prop_assert!(token.expose().bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn a_bearer_token_is_read_from_one_header_only() {
        let read = |pairs: &[_]| {
            BearerToken::from_authorization(&headers(pairs))
                .map(|t| t.map(|t| t.expose().to_owned()))
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(
            read(&[("authorization", "Bearer t-1")]),
            Ok(Some("t-1".to_owned()))
        );
        assert_eq!(
            read(&[("authorization", "bearer t-1")]),
            Ok(Some("t-1".to_owned()))
        );
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  t-1",
            "Bearer t-1 ",
            "Basic t-1",
            "t-1",
        ] {
            assert_eq!(
                read(&[("authorization", wrong)]),
                Err(Malformed),
                "{wrong:?}"
            );
        }
        let twice = [
            ("authorization", "Bearer t-1"),
            ("authorization", "Bearer t-2"),
        ];
        assert_eq!(read(&twice), Err(Malformed));
        let of = |length: usize| format!("Bearer {}", "a".repeat(length));
        let (longest, longer) = (of(MAX_TOKEN_BYTES), of(MAX_TOKEN_BYTES + 1));
        assert!(read(&[("authorization", &longest)]).is_ok());
        assert_eq!(read(&[("authorization", &longer)]), Err(Malformed));
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = BearerToken::new("t-secret");
        assert!(!format!("{token:?}").contains("secret"));
        assert!(
            token
                .header("Bearer ")
                .is_some_and(|value| value.is_sensitive())
        );
    }
}
