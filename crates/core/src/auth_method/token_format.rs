//! What the access tokens of a method look like.

use std::collections::BTreeSet;

use super::MAX_LIST;
use crate::invalid::{Invalid, Violations};
use crate::reason::DenyReason;

/// The longest audience, in bytes.
const MAX_AUDIENCE: usize = 256;

/// What the access tokens of a method look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// `t-…`, which says nothing by itself.
    #[default]
    Opaque,
    /// A signed JWT.
    Jwt(TokenAudiences),
}

/// For whom a method's JWTs can be, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAudiences(Vec<String>);

// === impl TokenFormat ===

impl TokenFormat {
    /// Faults are of `token_audiences`.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn parse(jwt: bool, audiences: Vec<String>) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        if jwt {
            if audiences.is_empty() {
                faults.add(
                    "token_audiences",
                    "is empty: a JWT says whom it is for, and whoever verifies it must be among them",
                );
            }
        } else if !audiences.is_empty() {
            faults.add("token_audiences", "is for JWTs; say token_format too");
        }
        if audiences.len() > MAX_LIST {
            faults.add(
                "token_audiences",
                format!("has more than {MAX_LIST} entries"),
            );
        }
        if audiences.iter().collect::<BTreeSet<_>>().len() < audiences.len() {
            faults.add("token_audiences", "has an entry twice");
        }
        for (i, audience) in audiences.iter().enumerate() {
            if let Err(fault) = check_audience(audience) {
                faults.add(format!("token_audiences[{i}]"), fault);
            }
        }
        faults.finish()?;
        Ok(match jwt {
            true => Self::Jwt(TokenAudiences(audiences)),
            false => Self::Opaque,
        })
    }

    /// For whom its tokens can be; of opaque ones nobody is named.
    pub fn audiences(&self) -> &[String] {
        match self {
            Self::Opaque => &[],
            Self::Jwt(TokenAudiences(audiences)) => audiences,
        }
    }

    /// Whether its tokens are JWTs.
    pub fn is_jwt(&self) -> bool {
        matches!(self, Self::Jwt(_))
    }

    /// For whom a JWT is that is `asked` for these audiences; all of the method's where none is
    /// asked for. `None`: it is no JWT.
    ///
    /// # Errors
    /// One that the method doesn't list.
    pub fn granted(&self, asked: &[String]) -> Result<Option<Vec<String>>, DenyReason> {
        let audiences = self.audiences();
        if !asked.iter().all(|audience| audiences.contains(audience)) {
            return Err(DenyReason::TokenAudienceNotAllowed);
        }
        let granted = if asked.is_empty() { audiences } else { asked };
        Ok(self.is_jwt().then(|| granted.to_vec()))
    }
}

/// What any audience must be like, a method's or one that is asked for.
///
/// # Errors
/// What is wrong.
pub fn check_audience(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("is empty"),
        long if long.len() > MAX_AUDIENCE => Err("is longer than 256 bytes"),
        odd if odd.chars().any(|c| c.is_control() || c.is_whitespace()) => {
            Err("has white space or a control character")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_jwt_names_audiences_and_an_opaque_token_none() {
        assert_eq!(
            TokenFormat::parse(false, Vec::new()),
            Ok(TokenFormat::Opaque)
        );
        let format = TokenFormat::parse(true, texts(&["a", "b"])).unwrap();
        assert_eq!(format.audiences(), texts(&["a", "b"]));
        for (jwt, audiences) in [
            (true, &[][..]),
            (false, &["a"]),
            (true, &["a", "a"]),
            (true, &[""]),
            (true, &["a b"]),
        ] {
            let fault = TokenFormat::parse(jwt, texts(audiences)).unwrap_err();
            assert!(fault.to_string().contains("token_audiences"), "{fault}");
        }
    }

    #[test]
    fn only_audiences_of_the_methods_list_are_granted() {
        let jwt = TokenFormat::parse(true, texts(&["a", "b"])).unwrap();
        assert_eq!(jwt.granted(&[]), Ok(Some(texts(&["a", "b"]))));
        assert_eq!(jwt.granted(&texts(&["b"])), Ok(Some(texts(&["b"]))));
        let denied = Err(DenyReason::TokenAudienceNotAllowed);
        assert_eq!(jwt.granted(&texts(&["b", "c"])), denied);
        assert_eq!(TokenFormat::Opaque.granted(&[]), Ok(None));
        assert_eq!(TokenFormat::Opaque.granted(&texts(&["a"])), denied);
    }
}
