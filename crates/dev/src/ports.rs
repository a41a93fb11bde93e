//! Ports on loopback, known before the servers that will have them start.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// How many ports are tried from the first on.
const TRIES: u16 = 100;
/// From here up to where Linux begins its own range.
const FIRST: u16 = 12_000;
const OUTGOING: u16 = 32_768;

/// Which port on 127.0.0.1 a server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Any free one.
    Free,
    /// This one or none.
    Exactly(u16),
    /// This one, or the next free one.
    From(u16),
}

/// A port that nobody else can take while this lives.
///
/// URLs that hold ports stand in files that the servers read before they listen.
pub(crate) struct Reserved(TcpListener);

impl Port {
    pub(crate) fn reserve(self) -> Result<Reserved, io::Error> {
        let candidates: Vec<u16> = match self {
            Self::Free | Self::Exactly(0) => (0..TRIES).map(|_| drawn()).collect(),
            Self::Exactly(port) => vec![port],
            Self::From(port) => (port..=port.saturating_add(TRIES - 1)).collect(),
        };
        let mut taken = None;
        for port in candidates {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(listener) => return Ok(Reserved(listener)),
                Err(error) => {
                    taken = Some(io::Error::new(
                        error.kind(),
                        format!("port {port}: {error}"),
                    ))
                }
            }
        }
        Err(taken.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }
}

/// Below those that the system gives to outgoing connections and to whoever asks for any: between
/// the moment when a port is let go and the moment when its server listens, nobody gets it by chance.
fn drawn() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    let below = u64::from(OUTGOING - FIRST);
    FIRST + u16::try_from(random % below).unwrap_or_default()
}

impl Reserved {
    pub(crate) fn address(&self) -> Result<SocketAddr, io::Error> {
        self.0.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over_or_refused() {
        let first = Port::Free.reserve().unwrap();
        let port = first.address().unwrap().port();
        assert!(Port::Exactly(port).reserve().is_err());
        let next = Port::From(port).reserve().unwrap();
        assert!(next.address().unwrap().port() > port);
        drop(first);
        assert!(Port::Exactly(port).reserve().is_ok());
    }
}
