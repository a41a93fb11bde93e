//! Update masks.

use postern_core::invalid::Violations;
use prost_types::FieldMask;

/// Which fields an update takes over.
pub(crate) enum Mask<'a> {
    /// Those that are present in the request.
    Present,
    /// All of them (`*`).
    All,
    /// These.
    Paths(&'a [String]),
}

impl<'a> Mask<'a> {
    /// Reads a mask; a path outside `known` is a fault of `update_mask`.
    pub(crate) fn parse(
        mask: Option<&'a FieldMask>,
        known: &[&str],
        faults: &mut Violations,
    ) -> Self {
        let paths = match mask {
            None => return Self::Present,
            Some(mask) if mask.paths.is_empty() => return Self::Present,
            Some(mask) => &mask.paths,
        };
        if paths.len() == 1 && paths[0] == "*" {
            return Self::All;
        }
        for path in paths.iter().filter(|path| !known.contains(&path.as_str())) {
            let shown: String = path.chars().take(64).collect();
            faults.add(
                "update_mask",
                format!(
                    "`{shown}` is no field that can be updated; those are {}",
                    known.join(", ")
                ),
            );
        }
        Self::Paths(paths)
    }

    /// Whether the update takes over the field `path`, which is or isn't present in the request.
    pub(crate) fn takes(&self, path: &str, present: bool) -> bool {
        match self {
            Self::Present => present,
            Self::All => true,
            Self::Paths(paths) => paths.iter().any(|p| {
                p == path
                    || path
                        .strip_prefix(p.as_str())
                        .is_some_and(|rest| rest.starts_with('.'))
            }),
        }
    }
}

/// Takes `patch`'s value of a field over into `target`, when the mask says so.
macro_rules! take {
    ($mask:expr, $path:literal, $target:expr, $patch:expr, $present:expr) => {
        if $mask.takes($path, $present) {
            $target = $patch;
        }
    };
}
pub(crate) use take;
