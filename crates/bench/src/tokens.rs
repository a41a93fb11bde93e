//! Tokens that nobody remembers: each is handed out again only when every cache has forgotten it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A real API server remembers a yes for ten seconds. The gateway's own cache is off.
pub(crate) const REST: Duration = Duration::from_secs(11);

pub(crate) struct Tokens {
    tokens: Mutex<VecDeque<(Option<Instant>, Arc<str>)>>,
    /// How long one isn't presented again.
    pub(crate) rest: Duration,
}

impl Tokens {
    pub(crate) fn new(tokens: Vec<String>, rest: Duration) -> Self {
        let fresh = tokens.into_iter().map(|token| (None, Arc::from(token)));
        Self {
            tokens: Mutex::new(fresh.collect()),
            rest,
        }
    }

    /// `None` when those that are left were presented a moment ago.
    pub(crate) fn take(&self) -> Option<Arc<str>> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, _) = tokens.front()?;
        if used.is_some_and(|used| used.elapsed() < self.rest) {
            return None;
        }
        let (_, token) = tokens.pop_front()?;
        tokens.push_back((Some(Instant::now()), Arc::clone(&token)));
        Some(token)
    }

    pub(crate) fn len(&self) -> usize {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_once_until_it_is_forgotten() {
        let tokens = Tokens::new(vec!["a".to_owned(), "b".to_owned()], REST);
        assert_eq!(tokens.take().as_deref(), Some("a"));
        assert_eq!(tokens.take().as_deref(), Some("b"));
        assert_eq!(tokens.take(), None);
        assert_eq!(tokens.len(), 2);
    }
}
