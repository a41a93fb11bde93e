//! `postern logout`: takes the administrator's credential out of a profile.

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags};
use crate::profile;
use crate::{output, session};

/// Take the access key out of the profile; addresses and trust stay
///
/// The command line keeps no token: each command logs in, and its token ends by itself. A key that
/// somebody else may have is ended by `auth-method revoke-access-key`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {}

pub(crate) fn run(connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let name = session::profile_name(connection);
    let Some(mut profile) = profile::load(&name)? else {
        return Err(Failure::usage(format!("there is no profile `{name}`")));
    };
    let had_key = profile.access_key.take().is_some();
    profile.access_id = None;
    profile::store(&name, &profile)?;
    let text = if had_key {
        format!("The access key is out of the profile `{name}`.")
    } else {
        format!("The profile `{name}` has no access key.")
    };
    let document = json!({ "profile": name, "had_access_key": had_key });
    output::print(flags.format(), &document, &text)
}
