//! The administrator's membership in a tenant's roles, for the length of one transaction.
//!
//! To give objects to a role, or act as it, an administrator that is no superuser must be a member of it. CREATEROLE implied as much up
//! to PostgreSQL 15; since 16 it brings the right to grant the role, to oneself too. A standing membership in every tenant's roles would
//! make each of the administrator's sessions walk through all of them at every change of any membership.

use super::connect::Connection;
use super::quote::{Ident, list};
use crate::engine::fault::Fault;

/// Memberships taken in this transaction, to be given back before it commits.
#[must_use = "memberships are given back before the transaction commits"]
pub(super) struct Borrowed(Vec<Ident>);

/// Makes the administrator a member of these roles, where it is not one yet. Within a transaction.
pub(super) async fn borrow(db: &mut Connection, roles: &[&Ident]) -> Result<Borrowed, Fault> {
    // In one order always, so that two transactions of one tenant wait for each other rather than deadlock.
    let mut names: Vec<String> = roles.iter().map(|r| r.name().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    // USAGE: has the role's rights at once. SET (known since 16): may act as it.
    let lacking: Vec<(String,)> = db
        .all(
            "postgres:pg_has_role",
            sqlx::query_as(
                "SELECT r.rolname::text FROM pg_roles r WHERE r.rolname = ANY ($1) AND NOT (pg_has_role(current_user, r.oid, 'USAGE') \
                 AND CASE WHEN current_setting('server_version_num')::int >= 160000 THEN pg_has_role(current_user, r.oid, 'SET') ELSE true END) \
                 ORDER BY r.rolname",
            )
            .bind(names),
        )
        .await?;
    let lacking: Vec<Ident> = lacking.iter().map(|(name,)| Ident::new(name)).collect::<Result<_, _>>()?;
    if !lacking.is_empty() {
        db.execute("postgres:GRANT", format!("GRANT {} TO CURRENT_USER", list(&lacking))).await?;
    }
    Ok(Borrowed(lacking))
}

impl Borrowed {
    /// Gives them back.
    pub(super) async fn give_back(self, db: &mut Connection) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        db.execute("postgres:REVOKE", format!("REVOKE {} FROM CURRENT_USER", list(&self.0))).await
    }

    /// The same without roles that were dropped meanwhile.
    pub(super) fn without(mut self, dropped: &Ident) -> Self {
        self.0.retain(|r| r != dropped);
        self
    }
}
