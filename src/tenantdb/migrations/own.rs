//! Where many schemas stand by their own ledgers: what the [central one](super::central) says of them is believed, until somebody asks.

use std::collections::BTreeMap;

use super::central::{Standing, standing};
use super::ledger;
use crate::engine::fault::{Class, Fault};
use crate::tenantdb::connect::Connection;
use crate::tenantdb::quote::Ident;

/// Ledgers read in one round trip: each takes a place in the lock table until it has ended.
const AT_ONCE: usize = 200;

/// Where these schemas of this connection's database stand by their own ledgers. One whose ledger is missing, is no plain table, is held
/// exclusively or cannot be read is not in the answer: it is opened and looked at, and tells why.
///
/// # Errors
/// As the statements' faults, but for those of a single ledger.
pub async fn read(db: &mut Connection, schemas: &[&str]) -> Result<BTreeMap<String, Standing>, Fault> {
    let plain = sqlx::query_as(
        "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = ANY ($1) AND c.relname = $2 AND c.relkind = 'r' AND NOT c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_locks l \
         WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
    );
    let plain: Vec<(String,)> = db.all("postgres:pg_class", plain.bind(schemas).bind(ledger::TABLE)).await?;
    let names: Vec<&str> = plain.iter().map(|(name,)| name.as_str()).collect();
    let mut found = BTreeMap::new();
    for some in names.chunks(AT_ONCE) {
        let Err(fault) = some_of(db, some, &mut found).await else { continue };
        if fault.class == Class::Unknown {
            return Err(fault);
        }
        // One of them is in the way of all, and that is its own matter.
        for one in some.chunks(1) {
            if let Err(fault) = some_of(db, one, &mut found).await
                && fault.class == Class::Unknown
            {
                return Err(fault);
            }
        }
    }
    Ok(found)
}

/// Each by a statement of its own: a union would cast what a tenant may have made of its columns, with the administrator's rights.
async fn some_of(db: &mut Connection, schemas: &[&str], found: &mut BTreeMap<String, Standing>) -> Result<(), Fault> {
    let read = |name: &&str| Ok(format!("SELECT folder, version, name, checksum FROM {}.{} ORDER BY position", Ident::new(name)?, ledger::TABLE));
    let script = schemas.iter().map(read).collect::<Result<Vec<_>, Fault>>()?.join("; ");
    let answers = db.script("postgres:labctl_migrations", script).await?;
    found.extend(schemas.iter().zip(&answers).map(|(name, rows)| ((*name).to_owned(), standing(&ledger::steps(Some(rows))))));
    Ok(())
}
