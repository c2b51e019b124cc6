//! What can go wrong with a verb before its run begins. How a run ended is not an error but a [`Report`](super::change::Report).

use chrono::{DateTime, Utc};

use super::verb::Verb;
use crate::engine::fault::Fault;
use crate::engine::kind::{Address, Suspension};
use crate::engine::run::Outcome;
use crate::plan;
use crate::registry::{Hold, RegistryError, TenantStatus};
use crate::spec::Invalid;
use crate::stack::Isolation;
use crate::stack::overrides::Refusal;
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
    /// The registry was lost while the operation was put on record: whether it is there is not known; no step was begun.
    #[error("the operation on tenant `{tenant}` could not be begun")]
    Unbegun {
        /// The tenant's id.
        tenant: String,
        /// How.
        #[source]
        registry: RegistryError,
    },
    /// The registry was lost on the way, so that the end of the run is not on record. Each step that was begun is.
    #[error("how operation {operation} of tenant `{tenant}` ended could not be recorded")]
    Unrecorded {
        /// The tenant's id.
        tenant: String,
        /// The operation's number.
        operation: i64,
        /// How the run ended.
        outcome: Box<Outcome>,
        /// How the registry was lost.
        #[source]
        registry: RegistryError,
    },
    /// The registry was lost in the middle of a fleet run. What became of tenants is in their databases, and found when the run goes on.
    #[error("fleet run {run} has lost the registry")]
    FleetUnrecorded {
        /// The run's number.
        run: i64,
        /// How.
        #[source]
        registry: RegistryError,
    },
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
    /// Another isolation means other resources, and what moves data between them is not there.
    #[error("tenant `{tenant}` has its data in isolation `{is}`, and the spec's tier means `{wanted}`")]
    OtherIsolation {
        /// The tenant's id.
        tenant: String,
        /// How its data is kept apart.
        is: String,
        /// How the spec's tier keeps it apart.
        wanted: Isolation,
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
    /// The tenant is out of use, and the verb is for one in use.
    #[error("tenant `{tenant}` is suspended ({level}{}): {verb} is not for it", reason.as_ref().map_or_else(String::new, |r| format!(": {r}")))]
    Suspended {
        /// The tenant's id.
        tenant: String,
        /// How far.
        level: Suspension,
        /// The operator's words.
        reason: Option<String>,
        /// What was asked for.
        verb: Verb,
    },
    /// The tier does not allow it.
    #[error("{verb} of tenant `{tenant}` goes beyond what its tier allows")]
    OutOfBounds {
        /// The tenant's id.
        tenant: String,
        /// What was asked for.
        verb: Verb,
        /// What is refused, and what is allowed.
        refused: Vec<Refusal>,
    },
    /// The tenant has no such service, or the tier fixes what was to be changed of it.
    #[error("{verb} of tenant `{tenant}`: tier {tier} has no service `{service}` for that")]
    NoSuchService {
        /// The tenant's id.
        tenant: String,
        /// Its tier.
        tier: String,
        /// What was asked for.
        verb: Verb,
        /// The service that was said.
        service: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// It was begun and never came to be ready.
    #[error("tenant `{tenant}` is {status} and was never ready: there is nothing to {verb}")]
    NeverReady {
        /// The tenant's id.
        tenant: String,
        /// How it stands.
        status: TenantStatus,
        /// What was asked for.
        verb: Verb,
    },
    /// A purge before its date.
    #[error("tenant `{tenant}` may be purged from {} on", purge_after.format("%Y-%m-%d %H:%M UTC"))]
    TooEarly {
        /// The tenant's id.
        tenant: String,
        /// From when on it may.
        purge_after: DateTime<Utc>,
    },
    /// A purge of a tenant with holds in force.
    #[error("tenant `{tenant}` is held and cannot be purged")]
    Held {
        /// The tenant's id.
        tenant: String,
        /// Why.
        holds: Vec<Hold>,
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
    /// There is nobody to be isolated from.
    #[error("tenant `{tenant}` has no neighbour to be verified against")]
    NoNeighbour {
        /// The tenant's id.
        tenant: String,
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
    /// The plan from a file is not what would be done now.
    #[error("the plan for tenant `{tenant}` is stale")]
    StalePlan {
        /// The tenant's id.
        tenant: String,
        /// What has moved since it was made.
        moved: Vec<String>,
    },
    /// The file holds no plan that could be carried out.
    #[error("the file holds no plan of labctl's: {why}")]
    NoPlan {
        /// Why not.
        why: String,
    },
    /// The operation is over.
    #[error("operation {operation} is {status}: there is nothing to resume")]
    NothingToResume {
        /// Its number.
        operation: i64,
        /// How it stands.
        status: crate::registry::OperationStatus,
    },
    /// The world is not as an operator said of a step in doubt.
    #[error("{address} is not as you say: {why}")]
    Finding {
        /// Where.
        address: Address,
        /// What was found instead.
        why: String,
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
