//! Page sizes and page tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_core::invalid::{Invalid, Violations};
use serde::{Deserialize, Serialize};

const DEFAULT_SIZE: u32 = 50;
const MAX_SIZE: u32 = 500;

/// One page of a list, as a caller asks for it.
pub(crate) struct Paging {
    /// At least 1, at most 500.
    pub(crate) limit: u32,
    list: String,
    after: Option<String>,
}

/// What a page token holds. It grants nothing: it only says where a list goes on.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    /// The list with its filters and kind of caller.
    list: String,
    after: String,
}

// === impl Paging ===

impl Paging {
    /// `list` names the RPC, its filters and the kind of caller: a token of another list is
    /// refused.
    ///
    /// # Errors
    /// A negative size, or a token that this list didn't give.
    pub(crate) fn parse(page_size: i32, page_token: &str, list: String) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let limit = match u32::try_from(page_size) {
            Ok(0) => Some(DEFAULT_SIZE),
            Ok(size) => Some(size.min(MAX_SIZE)),
            Err(_) => {
                faults.add("page_size", format!("is {page_size}; it can't be negative"));
                None
            }
        };
        let after = match page_token {
            "" => None,
            token => cursor(token, &list).or_else(|| {
                faults.add(
                    "page_token",
                    "is none that this list gave for these filters",
                );
                None
            }),
        };
        let Some(limit) = limit else {
            return Err(faults.into_invalid());
        };
        faults.finish()?;
        Ok(Self { limit, list, after })
    }

    /// The key that the page begins after; `None` on the first page.
    ///
    /// # Errors
    /// A token that was tampered with.
    pub(crate) fn after<T>(&self, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Invalid> {
        let tampered = || Invalid::field("page_token", "is none that this list gave");
        self.after
            .as_deref()
            .map(|after| parse(after).ok_or_else(tampered))
            .transpose()
    }

    /// The token of the next page; empty when `more` says that there is none.
    pub(crate) fn next(self, more: bool, last: Option<String>) -> String {
        let Some(after) = last.filter(|_| more) else {
            return String::new();
        };
        let token = Token {
            list: self.list,
            after,
        };
        // Two strings always become JSON.
        serde_json::to_vec(&token)
            .map(|json| URL_SAFE_NO_PAD.encode(json))
            .unwrap_or_default()
    }
}

fn cursor(token: &str, list: &str) -> Option<String> {
    let json = URL_SAFE_NO_PAD.decode(token).ok()?;
    let token: Token = serde_json::from_slice(&json).ok()?;
    (token.list == list).then_some(token.after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paging(size: i32, token: &str, list: &str) -> Result<Paging, Invalid> {
        Paging::parse(size, token, list.to_owned())
    }

    #[test]
    fn sizes_have_a_default_and_a_maximum() {
        assert_eq!(paging(0, "", "a").unwrap().limit, 50);
        assert_eq!(paging(7, "", "a").unwrap().limit, 7);
        assert_eq!(paging(501, "", "a").unwrap().limit, 500);
        let invalid = paging(-1, "garbage", "a").err().unwrap();
        let fields: Vec<_> = invalid.violations().iter().map(|v| &v.field).collect();
        assert_eq!(fields, ["page_size", "page_token"]);
    }

    #[test]
    fn a_token_goes_on_in_its_own_list_only() {
        let key = |after: &str| Some(after.to_owned());
        let token = paging(1, "", "a").unwrap().next(true, Some("x".to_owned()));
        let next = paging(1, &token, "a").unwrap();
        assert_eq!(next.after(key).unwrap().as_deref(), Some("x"));
        assert!(next.after(|_| None::<()>).is_err());
        assert!(paging(1, &token, "b").is_err());
        assert!(paging(1, &format!("{token}A"), "a").is_err());
        assert_eq!(
            paging(1, "", "a")
                .unwrap()
                .next(false, Some("x".to_owned())),
            ""
        );
    }

    proptest! {
        #[test]
        fn a_token_of_any_text_or_with_any_byte_changed_goes_on_nowhere_else(
            text in ".{0,100}", at in any::<prop::sample::Index>(), by in "[A-Za-z0-9_=-]",
        ) {
            let given = |token: &str| paging(1, token, "list").ok();
            prop_assert!(text.is_empty() || given(&text).is_none());
            let token = given("").unwrap().next(true, Some("last".to_owned()));
            let mut changed = token.clone();
            let at = at.index(token.len());
            changed.replace_range(at..=at, &by);
            // What grants nothing isn't signed: another place in the same list may be named.
            if let Some(paging) = given(&changed) {
                prop_assert_eq!(paging.list, "list");
            }
            let other = format!("{text}x");
            prop_assert!(other == "list" || paging(1, &token, &other).is_err());
        }
    }
}
