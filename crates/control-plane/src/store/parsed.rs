//! Auth methods as they were parsed last, and the rows that they were parsed from: the same rows again
//! are the same method.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use postern_core::access_id::AccessId;
use postern_core::auth_method::AuthMethod;

use super::Inconsistent;
use super::rows::{MethodRow, methods};

/// More methods than that are parsed anew now and then.
const MOST: usize = 1024;

/// By access ID.
#[derive(Default)]
pub(super) struct Parsed(Mutex<HashMap<AccessId, OfRows>>);

/// A method, and the rows that it is good for.
type OfRows = (Vec<MethodRow>, Arc<AuthMethod>);

impl Parsed {
    /// As it was when its rows were read last: a guess, to be held against the rows.
    pub(super) fn last(&self, access_id: &AccessId) -> Option<Arc<AuthMethod>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(access_id).map(|(_, method)| Arc::clone(method))
    }

    /// The method of these rows, all of one; `None` of none.
    pub(super) fn method(
        &self,
        access_id: &AccessId,
        rows: Vec<MethodRow>,
    ) -> Result<Option<Arc<AuthMethod>>, Inconsistent> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((same, method)) = known.get(access_id)
            && *same == rows
        {
            return Ok(Some(Arc::clone(method)));
        }
        known.remove(access_id);
        let Some((_, method)) = methods(&rows).next() else {
            return Ok(None);
        };
        let method = Arc::new(method?.value);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(access_id.clone(), (rows, Arc::clone(&method)));
        Ok(Some(method))
    }
}
