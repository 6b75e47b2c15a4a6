//! A value that never shows itself (invariant 10: a secret never reaches a log).

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

/// What stands where a secret would.
pub const MASK: &str = "***";

/// A password or key. Printed, logged or serialised it is `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// A secret, and the file that it came from, where it can be read again once it was renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSource {
    /// The secret as it was given or read.
    pub value: Secret,
    /// The file (`NAME_FILE`), where there is one.
    pub file: Option<PathBuf>,
}

impl SecretSource {
    /// A secret that is given outright and stays as it is.
    pub fn fixed(value: impl Into<String>) -> Self {
        Self { value: Secret::new(value), file: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_10_a_secret_never_shows() {
        let secret = Secret::new("hunter2");
        let source = SecretSource::fixed("hunter2");
        let shown = format!(
            "{secret} {secret:?} {:#?} {source:?} {}",
            Some(&secret),
            serde_json::json!({ "password": secret })
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
