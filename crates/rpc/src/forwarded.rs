//! Where a call came from when it came through a proxy: `forwarded` (RFC 7239) and
//! `x-forwarded-for`, which count only from the proxies that the configuration names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use postern_core::ip::IpBlock;

const FORWARDED: &str = "forwarded";
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose word counts. None by default.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpBlock]>);

/// A header that doesn't say where the call came from.
#[derive(Debug, PartialEq, Eq)]
struct Unclear;

/// Whom one proxy saw.
type Hop = Result<IpAddr, Unclear>;

// === impl TrustedProxies ===

impl TrustedProxies {
    pub fn new(blocks: Vec<IpBlock>) -> Self {
        Self(blocks.into())
    }

    /// The caller's address, canonical. From anybody but a trusted proxy the headers are ignored;
    /// from one `None` when they are missing, malformed, or contradict each other.
    pub(crate) fn caller(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer?.to_canonical();
        if !self.trusts(peer) {
            return Some(peer);
        }
        let by_forwarded = self.named(headers, FORWARDED, forwarded).ok()?;
        let by_x = self.named(headers, X_FORWARDED_FOR, x_forwarded_for).ok()?;
        match (by_forwarded, by_x) {
            (Some(one), None) | (None, Some(one)) => Some(one),
            // A proxy that sets one of them may pass the other on as a stranger wrote it.
            (Some(one), Some(other)) => (one == other).then_some(one),
            (None, None) => None,
        }
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }

    /// The address that a header names; `None` when there is no such header.
    fn named(
        &self,
        headers: &HeaderMap,
        name: &str,
        parse: fn(&str) -> Result<Vec<Hop>, Unclear>,
    ) -> Result<Option<IpAddr>, Unclear> {
        let mut hops = Vec::new();
        for value in headers.get_all(name) {
            hops.extend(parse(value.to_str().map_err(|_| Unclear)?)?);
        }
        if !headers.contains_key(name) {
            return Ok(None);
        }
        self.rightmost_untrusted(hops).map(Some)
    }

    /// Each proxy adds whom it saw at the right, so that all beyond the first stranger is only what
    /// that stranger says. Where all are proxies the first of them asked.
    fn rightmost_untrusted(&self, hops: Vec<Hop>) -> Hop {
        let mut last = Err(Unclear);
        for hop in hops.into_iter().rev() {
            let address = hop?;
            last = Ok(address);
            if !self.trusts(address) {
                break;
            }
        }
        last
    }
}

fn x_forwarded_for(value: &str) -> Result<Vec<Hop>, Unclear> {
    Ok(value.split(',').map(|hop| node(hop.trim())).collect())
}

/// `for=192.0.2.43, for="[2001:db8::17]:4711";proto=https`. Read strictly: a quote that a stranger
/// left open must not swallow what the proxy added.
fn forwarded(value: &str) -> Result<Vec<Hop>, Unclear> {
    let mut hops = Vec::new();
    let mut rest = value;
    loop {
        let mut hop = None;
        loop {
            let (name, value, behind) = pair(rest.trim_start())?;
            if name.eq_ignore_ascii_case("for") && hop.replace(node(&value)).is_some() {
                return Err(Unclear);
            }
            rest = behind.trim_start();
            match rest.strip_prefix(';') {
                Some(next) => rest = next,
                None => break,
            }
        }
        hops.push(hop.unwrap_or(Err(Unclear)));
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(hops),
            None => return Err(Unclear),
        }
    }
}

/// `name=value` or `name="value"`, and what follows.
fn pair(text: &str) -> Result<(&str, String, &str), Unclear> {
    let (name, rest) = text.split_once('=').ok_or(Unclear)?;
    if !is_token(name) {
        return Err(Unclear);
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', ';', ' ', '\t']).unwrap_or(rest.len());
        let (value, rest) = rest.split_at(end);
        return match is_token(value) {
            true => Ok((name, value.to_owned(), rest)),
            false => Err(Unclear),
        };
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((name, value, &quoted[at + 1..])),
            '\\' => value.push(chars.next().ok_or(Unclear)?.1),
            c => value.push(c),
        }
    }
    Err(Unclear)
}

/// RFC 9110's token.
fn is_token(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(plain)
}

/// An address, with or without a port. `unknown` and `_hidden` name nobody.
fn node(text: &str) -> Hop {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']');
    let address = bracketed().unwrap_or(text).parse::<IpAddr>();
    let address = address.or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address
        .map(|address| address.to_canonical())
        .map_err(|_| Unclear)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    /// Who calls, by what these headers of that peer say, where 10.0.0.0/8 and ::1 are proxies.
    fn caller(peer: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let proxies = ["10.0.0.0/8", "::1"].map(|block| block.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let caller = TrustedProxies::new(proxies.to_vec()).caller(peer.parse().ok(), &map);
        caller.map(|ip| ip.to_string())
    }

    fn x(value: &str) -> Option<String> {
        caller(PROXY, &[("x-forwarded-for", value)])
    }

    fn rfc(value: &str) -> Option<String> {
        caller(PROXY, &[("forwarded", value)])
    }

    #[test]
    fn forwarded_for_headers_count_only_from_configured_proxies() {
        let header = [
            ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=192.0.2.7"),
        ];
        assert_eq!(
            caller("198.51.100.1", &header).as_deref(),
            Some("198.51.100.1")
        );
        assert_eq!(caller(PROXY, &header).as_deref(), Some("192.0.2.7"));
        assert_eq!(
            caller("::ffff:10.0.0.1", &header).as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(caller("::1", &header).as_deref(), Some("192.0.2.7"));
        assert_eq!(caller("unknown", &header), None);
        let nobody = TrustedProxies::default();
        let peer = nobody.caller(PROXY.parse().ok(), &HeaderMap::new());
        assert_eq!(peer, PROXY.parse().ok());
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_callers() {
        assert_eq!(x("1.2.3.4, 192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(
            x("1.2.3.4, 192.0.2.7, 10.9.9.9").as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(x("10.3.3.3, 10.9.9.9").as_deref(), Some("10.3.3.3"));
        // What stands beyond it is a stranger's word, be it garbage.
        assert_eq!(x("garbage, 192.0.2.7").as_deref(), Some("192.0.2.7"));
        let lines = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(caller(PROXY, &lines).as_deref(), Some("192.0.2.7"));
        assert_eq!(
            rfc("for=1.2.3.4, for=192.0.2.7").as_deref(),
            Some("192.0.2.7")
        );
    }

    #[test]
    fn addresses_are_read_in_every_form_that_proxies_write() {
        for (text, ip) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
        ] {
            assert_eq!(x(text).as_deref(), Some(ip), "{text}");
            let quoted = format!("proto=https;For=\"{text}\" ; by=_me");
            assert_eq!(rfc(&quoted).as_deref(), Some(ip), "{quoted}");
        }
    }

    #[test]
    fn a_proxy_that_names_nobody_leaves_the_address_unknown() {
        assert_eq!(caller(PROXY, &[]), None);
        for text in [
            "",
            "unknown",
            "_hidden",
            "1.2.3.4, nonsense",
            "1.2.3.4,",
            "1.2.3",
        ] {
            assert_eq!(x(text), None, "{text}");
        }
        for text in [
            "",
            "for",
            "for=",
            "for=unknown",
            "for=_hidden",
            "proto=https",
            "for=1.2.3.4;for=192.0.2.7",
            "for=1.2.3.4 for=192.0.2.7",
            "for=\"1.2.3.4",
            // A stranger's open quotes around what the proxy added.
            "for=\"1.2.3.4, for=192.0.2.7",
            "for=1.2.3.4;x=\", for=\"192.0.2.7\"",
        ] {
            assert_eq!(rfc(text), None, "{text}");
        }
    }

    #[test]
    fn two_headers_that_differ_name_nobody() {
        let both = |x, rfc| caller(PROXY, &[("x-forwarded-for", x), ("forwarded", rfc)]);
        assert_eq!(
            both("192.0.2.7", "for=192.0.2.7").as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(both("192.0.2.7", "for=1.2.3.4"), None);
        assert_eq!(both("192.0.2.7", "garbage"), None);
    }
}
