//! What is to be applied to one schema, and what is known of it at the start of a transaction.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::ledger::{To, short};
use super::{Library, Step};
use crate::engine::fault::Fault;
use crate::tenantdb::connect::Connection;
use crate::tenantdb::quote::Ident;
use crate::tenantdb::row_security::Guard;

/// How a migration is called in a fault.
pub(super) const CALL: &str = "postgres:migrate";

/// Whether the schema's ledger must be there.
#[derive(Debug, Clone, Copy)]
pub enum Ledger<'a> {
    /// It is made where there is none, with this comment.
    Make {
        /// Whose it is, as [`crate::tenantdb::comment::write`] has it.
        comment: &'a str,
        /// The migrations whose work the schema held before: recorded in the new ledger as applied, once the schema is seen to be what
        /// they make. With a ledger there, this says nothing.
        baseline: &'a [Step],
    },
    /// It must be there, and be this owner's.
    Of {
        /// The address of the tenant's schema version.
        address: &'a str,
        /// The registry's id.
        registry: &'a str,
    },
}

/// Tables that tenants share, and what must be true of them before anybody sees what a migration made of them.
#[async_trait]
pub trait Sealed: Debug + Sync {
    /// Runs at the end of the migration's transaction, as the migration role: puts the walls between tenants up, or refuses.
    ///
    /// # Errors
    /// What would not keep tenants apart; the transaction is undone then.
    async fn seal(&self, db: &mut Connection) -> Result<(), Fault>;
}

/// What is to be applied where.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The schema.
    pub schema: &'a Ident,
    /// The migration role.
    pub role: &'a Ident,
    /// Whose schema it is, for the central ledger.
    pub tenant: &'a str,
    /// The stack's history for this tenant, in order.
    pub wanted: &'a [Step],
    /// How far to go.
    pub to: &'a To,
    /// Whether the schema's ledger must be there.
    pub ledger: Ledger<'a>,
    /// What the ledger says, in its order, as far as is known without looking: by the central one. It is not trusted but checked.
    pub believed: Option<&'a [Step]>,
    /// How long a statement waits for a lock.
    pub lock_timeout: Duration,
    /// What tenants share, where that is what the schema holds: its transaction ends with the walls between them.
    pub shared: Option<&'a dyn Sealed>,
}

/// What is known of the schema at the start of a transaction.
pub(super) struct Seen {
    /// What opens the transaction, where that is still to be sent.
    pub(super) opening: Option<String>,
    /// The number of the transaction it was looked in, as SQL has it.
    pub(super) transaction: String,
    pub(super) member: bool,
    /// A run that was killed has left the administrator a member.
    pub(super) left: bool,
    /// For whom the schema's tables are guarded.
    pub(super) guard: Option<Guard>,
    pub(super) applied: Vec<Step>,
    /// The statements that make the ledger, where there is none.
    pub(super) make: Option<String>,
    /// The function that runs what is the tenant's is there.
    pub(super) runner: bool,
    /// Who has rights on whatever the role makes, as SQL has them.
    pub(super) heirs: Option<String>,
}

/// The text of a file, from the stack's migrations.
pub(super) fn text<'l>(library: &'l Library, step: &Step) -> Result<&'l super::File, Fault> {
    library
        .file(&step.checksum)
        .ok_or_else(|| Fault::refused(CALL, "no_text", format!("the text of {step} ({}) is not among this stack's migrations", short(&step.checksum))))
}
