//! What can go wrong with one call to the outside, and what that call may have left behind.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether the call took effect. Decided once, where the error enters the program (`cloud::fault`, `tenantdb::fault`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A definite "no": nothing was made, and asking again will not help until somebody changes something.
    Refused,
    /// A "not now" (throttled, locked, not yet visible): nothing was made, ask again later.
    Busy,
    /// No answer, or an answer that tells nothing (time-out, 5xx, broken connection): it may have been made.
    Unknown,
}

/// What a failed call left in the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// Nothing was made.
    Nothing,
    /// This exists (an id, an ARN, a name).
    Made(String),
    /// Cannot be told from here; this is what to look for.
    Unknown(String),
}

/// A failed call: what was tried, how it ended, what is left, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Whether the call took effect.
    pub class: Class,
    /// The call, as `service:Operation` (`s3:CreateBucket`, `postgres:CREATE SCHEMA`).
    pub call: String,
    /// The error code of the service (`AccessDeniedException`, SQLSTATE `42501`), or our own (`invalid_spec`).
    pub code: String,
    /// The service's own words. Never holds a secret.
    pub message: String,
    /// What is left behind.
    pub left: Left,
    /// What the operator can do.
    pub hint: Option<String>,
}

impl Fault {
    /// A definite refusal that left nothing.
    pub fn refused(call: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Class::Refused, call, code, message)
    }

    /// A "not now" that left nothing.
    pub fn busy(call: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Class::Busy, call, code, message)
    }

    /// An outcome that cannot be told. `left` starts as "look for what the call makes".
    pub fn unknown(call: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Class::Unknown, call, code, message)
    }

    fn new(class: Class, call: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        let call = call.into();
        let left = match class {
            Class::Refused | Class::Busy => Left::Nothing,
            Class::Unknown => Left::Unknown(format!("whatever {call} makes")),
        };
        Self { class, call, code: code.into(), message: message.into(), left, hint: None }
    }

    /// The same fault with advice for the operator.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault, naming what it left behind.
    #[must_use]
    pub fn left(mut self, left: Left) -> Self {
        self.left = left;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.call, self.message, self.code)
    }
}

impl std::error::Error for Fault {}
