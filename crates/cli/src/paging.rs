//! Whole lists, a page at a time.

use crate::failure::Failure;

/// The most that servers give at once.
const PAGE_SIZE: usize = 500;

/// Which page to ask for.
pub(crate) struct Page {
    pub(crate) size: i32,
    pub(crate) token: String,
}

/// The first `limit` items; `fetch` gives a page's items and the next page's token.
pub(crate) async fn collect<T>(
    limit: usize,
    mut fetch: impl AsyncFnMut(Page) -> Result<(Vec<T>, String), Failure>,
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    let mut token = String::new();
    while all.len() < limit {
        let size = i32::try_from(PAGE_SIZE.min(limit - all.len())).unwrap_or(i32::MAX);
        let (items, next) = fetch(Page { size, token }).await?;
        all.extend(items);
        if next.is_empty() {
            break;
        }
        token = next;
    }
    all.truncate(limit);
    Ok(all)
}
