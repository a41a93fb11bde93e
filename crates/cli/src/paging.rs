//! Whole lists, a page at a time.

use crate::failure::Failure;
use crate::output;

/// The most that servers give at once.
const PAGE_SIZE: usize = 500;

/// Which page to ask for.
pub(crate) struct Page {
    pub(crate) size: i32,
    pub(crate) token: String,
}

/// The first `limit` items, with a word if there are more; `fetch` gives a page's items and the
/// next page's token.
pub(crate) async fn collect<T>(
    limit: usize,
    mut fetch: impl AsyncFnMut(Page) -> Result<(Vec<T>, String), Failure>,
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let size = i32::try_from(PAGE_SIZE.min(limit - all.len())).unwrap_or(i32::MAX);
        let (items, next) = fetch(Page { size, token }).await?;
        all.extend(items);
        let more = !next.is_empty() || all.len() > limit;
        all.truncate(limit);
        if more && all.len() == limit {
            output::note(&format!("only the first {limit}; there are more (--limit)"));
        }
        if !more || all.len() == limit {
            return Ok(all);
        }
        token = next;
    }
}
