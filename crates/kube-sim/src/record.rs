//! What was received lately, for tests that assert what a caller sent.

use std::collections::{HashMap, VecDeque};

use http::{HeaderMap, Method};
use serde_json::Value;

const KEPT: usize = 64;

/// A request as it arrived. It may hold tokens, and can't be printed for that reason.
#[derive(Clone)]
pub struct Recorded {
    pub method: Method,
    /// The path, with its query where there was one.
    pub path: String,
    pub headers: HeaderMap,
    /// The body, where it was JSON; null where not.
    pub body: Value,
}

impl Recorded {
    /// Whether this asks for a TokenReview.
    pub fn is_review(&self) -> bool {
        self.method == Method::POST && self.bare_path() == crate::http::TOKEN_REVIEWS
    }

    /// The path without a query.
    pub(crate) fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// The last requests, oldest first, and how many there were of all.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) recent: VecDeque<Recorded>,
    pub(crate) reviews: u64,
    /// By path, without its query.
    pub(crate) requests: HashMap<String, u64>,
}

impl Log {
    pub(crate) fn add(&mut self, request: Recorded) {
        if request.is_review() {
            self.reviews += 1;
        }
        *self
            .requests
            .entry(request.bare_path().to_owned())
            .or_default() += 1;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(request);
    }
}
