//! Addresses that a caller must come from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// An address or a CIDR block, canonical: `::ffff:10.0.0.1` is `10.0.0.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpBlock(IpNet);

/// Why a text is neither an address nor a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpBlockError {
    /// Neither an address nor a block.
    #[error("`{0}` is neither an IP address nor a CIDR block")]
    Shape(String),
    /// Bits behind the prefix, such as `10.0.0.1/8`: the writer meant something else.
    #[error("`{0}` has bits set behind its prefix; did you mean `{1}`?")]
    HostBits(String, String),
}

// === impl IpBlock ===

impl IpBlock {
    /// Whether the block holds the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for IpBlock {
    type Err = IpBlockError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address.to_canonical())));
        }
        let net: IpNet = text
            .parse()
            .map_err(|_| IpBlockError::Shape(text.to_owned()))?;
        if net.trunc() != net {
            return Err(IpBlockError::HostBits(
                text.to_owned(),
                net.trunc().to_string(),
            ));
        }
        Ok(Self(canonical(net)))
    }
}

fn canonical(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => ipnet::Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(net, IpNet::V4),
            None => net,
        },
        _ => net,
    }
}

impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(f, "{}", self.0.addr())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// A client as limits tell them apart: an IPv4 address, or the /64 that one IPv6 client has to
/// itself.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip => ip,
    }
}

/// Whether a caller may come from there: an empty list allows any address, an unknown one none
/// of a list.
pub fn allowed(bound: &[IpBlock], address: Option<IpAddr>) -> bool {
    bound.is_empty() || address.is_some_and(|a| bound.iter().any(|block| block.contains(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_one_it_maps() {
        let block: IpBlock = "10.0.0.0/8".parse().unwrap();
        assert!(block.contains("::ffff:10.0.0.1".parse().unwrap()));
        let mapped: IpBlock = "::ffff:10.0.0.0/104".parse().unwrap();
        assert_eq!(mapped.to_string(), "10.0.0.0/8");
        assert!(!mapped.contains("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_unknown_peer_is_refused_by_a_list() {
        let block: IpBlock = "::1".parse().unwrap();
        assert!(!allowed(std::slice::from_ref(&block), None));
        assert!(allowed(&[], None));
        assert!(allowed(&[block], Some("::1".parse().unwrap())));
    }

    #[test]
    fn typos_are_named() {
        assert!(
            "10.0.0.1/8"
                .parse::<IpBlock>()
                .unwrap_err()
                .to_string()
                .contains("10.0.0.0/8")
        );
        for text in ["", "10.0.0", "10.0.0.0/33", "host"] {
            assert!(text.parse::<IpBlock>().is_err(), "{text}");
        }
    }
}
