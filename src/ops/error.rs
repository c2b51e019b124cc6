//! What can go wrong with a verb before its run begins. How a run ended is not an error but a [`Report`](super::apply::Report).

use super::edit::Verb;
use crate::engine::fault::Fault;
use crate::plan;
use crate::registry::{RegistryError, TenantStatus};
use crate::spec::Invalid;
use crate::tenantdb::migrations::BadFile;

/// Why a verb did not come to its run.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The spec, the stack's templates or the platform's settings are wrong.
    #[error("the spec of tenant `{tenant}` does not hold")]
    Spec {
        /// The tenant's id.
        tenant: String,
        /// Everything that is wrong.
        #[source]
        invalid: Invalid,
    },
    /// The templates cannot be read.
    #[error("the stacks' templates do not hold")]
    Templates(#[source] Invalid),
    /// A migration of a stack cannot be carried out.
    #[error("a migration of stack `{stack}` does not hold")]
    Migration {
        /// The stack.
        stack: String,
        /// What is wrong.
        #[source]
        bad: BadFile,
    },
    /// The registry refused or failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// `create` of a tenant that exists.
    #[error("tenant `{tenant}` exists already ({status}, revision {revision})")]
    Exists {
        /// The tenant's id.
        tenant: String,
        /// How it stands.
        status: TenantStatus,
        /// Its current revision.
        revision: i32,
    },
    /// A tenant cannot change to another stack.
    #[error("tenant `{tenant}` is of stack `{is}`, not `{wanted}`")]
    OtherStack {
        /// The tenant's id.
        tenant: String,
        /// Its stack.
        is: String,
        /// The spec's.
        wanted: String,
    },
    /// The tenant's life has come to a state in which this verb means nothing.
    #[error("tenant `{tenant}` is {status}: {verb} is not for it")]
    Status {
        /// The tenant's id.
        tenant: String,
        /// How it stands.
        status: TenantStatus,
        /// What was asked for.
        verb: Verb,
    },
    /// There is no tenant of that id.
    #[error("there is no tenant `{tenant}`")]
    NoSuchTenant {
        /// The id that was said.
        tenant: String,
    },
    /// The profile names an account, and the credentials are another's.
    #[error("this profile is for AWS account {expected}, but the credentials are of account {found}")]
    WrongAccount {
        /// As the profile says.
        expected: String,
        /// As STS says.
        found: String,
    },
    /// Something outside could not be asked.
    #[error("cannot {doing}")]
    Outside {
        /// What was tried, in words.
        doing: String,
        /// How it ended.
        #[source]
        fault: Fault,
    },
    /// The settings of the profile cannot be used.
    #[error("the profile `{profile}` cannot be used: {why}")]
    Profile {
        /// Its name.
        profile: String,
        /// Why.
        why: String,
    },
    /// The plan cannot be carried out.
    #[error("the plan for tenant `{tenant}` cannot be carried out")]
    Problems {
        /// The tenant's id.
        tenant: String,
        /// Why.
        problems: Vec<plan::Problem>,
    },
    /// The operation is over.
    #[error("operation {operation} is {status}: there is nothing to resume")]
    NothingToResume {
        /// Its number.
        operation: i64,
        /// How it stands.
        status: crate::registry::OperationStatus,
    },
    /// A fleet run cannot begin, or not go on.
    #[error("{why}")]
    Fleet {
        /// Whether the command is wrong.
        usage: bool,
        /// Stable, for programs.
        code: &'static str,
        /// Why.
        why: String,
        /// What the operator can do.
        hint: String,
    },
    /// This should not be possible.
    #[error("{0}")]
    Bug(String),
}

/// What an operation was doing when something outside failed.
pub(super) fn outside(doing: impl Into<String>) -> impl FnOnce(Fault) -> OpError {
    let doing = doing.into();
    move |fault| OpError::Outside { doing, fault }
}
