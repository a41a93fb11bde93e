//! The rows of a whole batch by one statement, where nobody is to be told that a key was taken: then
//! the statement fails, and the batch is written step by step.

use postern_core::audit::Event;
use sqlx::QueryBuilder;

use super::super::super::{Connection, Db, audit};
use super::super::Way;
use super::rows::{ASSERTIONS, TOKENS, Token};
use super::{Login, Standing};
use crate::store::StoreError;

/// What is written by the one statement. Audit records go with the tokens.
pub(super) struct Writes {
    pub(super) assertions: bool,
    pub(super) tokens: bool,
}

impl Writes {
    /// Between assertions and tokens places and presented tokens are taken, and a JWT may turn out too
    /// long: all of that for those only whose assertion is known to be new.
    pub(super) fn of(way: Way, logins: &[Login<'_>]) -> Self {
        let tokens = way == Way::AtOnce && !logins.iter().any(|login| login.is_renewal());
        let between = |login: &Login<'_>| {
            !login.request.limits.are_off()
                || login.is_single_use()
                || login.allowed.audiences.is_some()
        };
        Self {
            assertions: tokens && !logins.iter().any(between),
            tokens,
        }
    }

    /// The records of those that are new. The tables come in the order of the steps, each when the
    /// one before is done.
    pub(super) async fn write(
        &self,
        connection: &mut Connection,
        rules_revision: i64,
        logins: &[Login<'_>],
    ) -> Result<Vec<Event>, StoreError> {
        let new = logins
            .iter()
            .filter(|login| login.standing == Standing::New);
        let mut tokens = new.map(Token::of).collect::<Result<Vec<_>, _>>()?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let events: Vec<Event> = tokens.iter().map(Token::event).collect();
        let mut insert = QueryBuilder::<Db>::new("WITH ");
        if self.assertions {
            tokens.sort_by_cached_key(|token| token.login.assertion());
            insert.push("a AS (").push(ASSERTIONS);
            insert.push_values(&tokens, |row, token| token.login.bind_assertion(row));
            insert.push(" RETURNING 1), ");
        }
        tokens.sort_by_cached_key(|token| token.login.token());
        insert.push("t AS (").push(TOKENS).push("SELECT * FROM (");
        insert.push_values(&tokens, |row, token: &Token<'_>| {
            token.bind(row, rules_revision)
        });
        insert.push(") v");
        if self.assertions {
            insert.push(" WHERE (SELECT COUNT(*) FROM a) > 0");
        }
        insert
            .push(" RETURNING 1) ")
            .push(audit::INTO)
            .push("SELECT * FROM (");
        insert.push_values(audit::rows(&events)?, audit::bind);
        insert.push(") v WHERE (SELECT COUNT(*) FROM t) > 0");
        insert.build().execute(connection).await?;
        Ok(events)
    }
}
