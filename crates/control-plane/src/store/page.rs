//! Pages of rows, in the order of their key.

/// Some rows in the order of their key. The next page comes after the last one's.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// There is a next page.
    pub(crate) more: bool,
}

/// A page ends before it grows beyond this: a gRPC message of ours stays under 1 MiB.
const MAX_PAGE_BYTES: usize = 900 * 1024;

impl<T> Page<T> {
    pub(super) fn new() -> Self {
        Self {
            items: Vec::new(),
            more: false,
        }
    }

    /// Takes a row into the page, or says that the page is full.
    pub(super) fn take(&mut self, item: T, room: &mut Room, bytes: usize) {
        if room.rows == 0 || (room.bytes < bytes && !self.items.is_empty()) {
            self.more = true;
            return;
        }
        room.rows -= 1;
        room.bytes = room.bytes.saturating_sub(bytes);
        self.items.push(item);
    }
}

/// What still fits on a page.
pub(super) struct Room {
    rows: u32,
    bytes: usize,
}

impl Room {
    pub(super) fn new(rows: u32) -> Self {
        Self {
            rows,
            bytes: MAX_PAGE_BYTES,
        }
    }
}
