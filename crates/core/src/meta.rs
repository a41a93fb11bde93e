//! What every stored resource carries.

use jiff::Timestamp;

/// A value with what the database says about its row.
#[derive(Debug, Clone)]
pub struct Stored<T> {
    /// The value.
    pub value: T,
    /// The configuration revision that last wrote the row; its text is the etag.
    pub revision: i64,
    /// When it was created.
    pub create_time: Timestamp,
    /// When it was last written.
    pub update_time: Timestamp,
}
