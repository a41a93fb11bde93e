//! What is wrong with a request, field by field.

use std::fmt;

/// One field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The request's field, dotted; list elements as `rules[0].pods[1]`.
    pub field: String,
    /// For people: the fault, and the value unless it is a secret.
    pub fault: String,
}

/// Everything that is wrong with a request, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(Vec<Violation>);

impl Invalid {
    /// A single violation.
    pub fn field(field: impl Into<String>, fault: impl Into<String>) -> Self {
        Self(vec![Violation {
            field: field.into(),
            fault: fault.into(),
        }])
    }

    /// All violations, in the order they were found.
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }

    /// Prefixes every field with the message it stands in.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        for violation in &mut self.0 {
            violation.field = format!("{parent}.{}", violation.field);
        }
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", violation.field, violation.fault)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// Collects violations, so that a caller hears of all of them at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Records a fault.
    pub fn add(&mut self, field: impl Into<String>, fault: impl Into<String>) {
        self.0.push(Violation {
            field: field.into(),
            fault: fault.into(),
        });
    }

    /// The value, or `None` with its error recorded under `field`.
    pub fn check<T, E: fmt::Display>(
        &mut self,
        field: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        result
            .map_err(|fault| self.add(field, fault.to_string()))
            .ok()
    }

    /// The value, or `None` with all of its violations taken over.
    pub fn absorb<T>(&mut self, result: Result<T, Invalid>) -> Option<T> {
        result.map_err(|invalid| self.0.extend(invalid.0)).ok()
    }

    /// `Ok` when nothing was recorded.
    ///
    /// # Errors
    /// What was recorded.
    pub fn finish(self) -> Result<(), Invalid> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Invalid(self.0))
        }
    }

    /// The invalid request, when it is known that something was recorded or that a part is missing.
    pub fn into_invalid(mut self) -> Invalid {
        if self.0.is_empty() {
            self.add("", "incomplete");
        }
        Invalid(self.0)
    }
}
