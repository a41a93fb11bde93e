//! What the command line says when it can't do what was asked, and the exit code for scripts.

use std::fmt;
use std::process::ExitCode;

use postern_core::invalid::Invalid;
use postern_rpc::error::{Blocker, Failure as RpcFailure, Reason};
use tonic::Code;

use crate::flags;

/// Exit codes that scripts can rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The server said no.
    Refused = 1,
    /// The command line or a value in it is wrong.
    Usage = 2,
    /// Something that is needed doesn't answer, or isn't what it should be.
    Unavailable = 3,
    /// What was named doesn't exist.
    NotFound = 4,
    /// It exists already, or somebody else changed it meanwhile.
    Conflict = 5,
}

/// A failed command: what went wrong, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file that can't be read or written.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::usage(format!("{}: {error}", path.display()))
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same, of what `prefix` names.
    #[must_use]
    pub(crate) fn of(mut self, prefix: &str) -> Self {
        self.message = format!("{prefix}: {}", self.message);
        self
    }

    /// The same text, when the fault is that the server isn't what it should be.
    pub(crate) fn into_unavailable(mut self, what: &str) -> Self {
        self.exit = Exit::Unavailable;
        self.message = format!("{what} ({})", self.message);
        self
    }

    /// The same, with the place in a file that it is about.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// From an answer of `server`, such as `the gateway at https://…`.
    pub(crate) fn of_call(server: &str, failure: RpcFailure) -> Self {
        let exit = exit_of(&failure);
        let mut this = match (failure.reason, failure.code) {
            (_, Code::InvalidArgument) if !failure.violations.is_empty() => Self::new(
                exit,
                violations(
                    failure
                        .violations
                        .iter()
                        .map(|v| (v.field.as_str(), v.fault.as_str())),
                ),
            ),
            (Some(Reason::LoginRefused), _) => Self::new(exit, "login refused"),
            (_, Code::Unavailable) if failure.connect.is_some() => {
                Self::new(exit, format!("{server}: {}", failure.message))
            }
            (_, Code::Aborted) => Self::new(exit, "somebody else changed it meanwhile")
                .hint("look at what is there now, and run the command again"),
            (_, Code::FailedPrecondition) => {
                let mut this = Self::new(exit, failure.message.clone());
                // A single one is the message.
                let said = |blocker: &&Blocker| failure.message.contains(&blocker.description);
                for blocker in failure.blockers.iter().filter(|blocker| !said(blocker)) {
                    this = this.hint(format!("{}: {}", blocker.subject, blocker.description));
                }
                this
            }
            _ => Self::new(exit, format!("{server}: {}", failure.message)),
        };
        if let Some(id) = &failure.request_id {
            this.message = format!("{} (request ID {id})", this.message);
            if failure.reason == Some(Reason::LoginRefused) {
                this = this.hint(format!(
                    "an administrator sees the reason with: postern audit get {id}"
                ));
            }
        }
        this
    }
}

fn exit_of(failure: &RpcFailure) -> Exit {
    match failure.code {
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists | Code::Aborted => Exit::Conflict,
        Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition => Exit::Refused,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Exit::Unavailable,
    }
}

fn violations<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let lines: Vec<String> = all
        .map(|(field, fault)| match flags::of_field(field) {
            Some(flag) => format!("{flag}: {fault} [{field}]"),
            None => format!("{field}: {fault}"),
        })
        .collect();
    lines.join("\n       ")
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        let all = invalid.violations().iter();
        Self::usage(violations(
            all.map(|v| (v.field.as_str(), v.fault.as_str())),
        ))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}
