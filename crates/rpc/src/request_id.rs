//! Request IDs.

use std::fmt;

use http::HeaderValue;
use ulid::Ulid;

/// The metadata key, and HTTP header, that every answer carries.
pub const HEADER: &str = "x-request-id";

/// Metadata key of the request ID that a gateway's own caller got. Believed from gateways only.
pub const RELAYED: &str = "postern-request-id";

/// A ULID that the server draws for each request. What a caller sends under [`HEADER`] is
/// ignored: an ID that others can choose can't be trusted in an audit record. A gateway
/// passes a login's ID on in a message's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(Ulid);

impl RequestId {
    pub fn generate() -> Self {
        Self(Ulid::generate())
    }

    /// Takes the canonical form only: 26 upper-case characters.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(Ulid::from_string(text).ok()?);
        (id.to_string() == text).then_some(id)
    }

    pub(crate) fn header(self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.to_string()).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_taken() {
        let id = RequestId::generate();
        assert_eq!(RequestId::parse(&id.to_string()), Some(id));
        for text in [
            String::new(),
            id.to_string().to_lowercase(),
            format!("{id} "),
            format!("{id}0"),
            "ZZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned(),
            "01J\n0000000000000000000000".to_owned(),
        ] {
            assert_eq!(RequestId::parse(&text), None, "{text:?}");
        }
    }
}
