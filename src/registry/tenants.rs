//! Tenants: one row each, with the status machine the database holds.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::error::{RegistryError, Result};
use super::resources::ResourceStatus;
use super::revisions::NewRevision;
use super::{HeldLease, Registry, names, revisions};
use crate::plan::life::{Deleted, Suspended};

/// Where a tenant is in its life. The legal moves are in the table `tenant_moves`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// Being made for the first time.
    Provisioning,
    /// As its spec says, and in use.
    Active,
    /// A change is under way.
    Updating,
    /// Kept, but out of use.
    Suspended,
    /// Deleted softly: kept until its purge date.
    Deleted,
    /// Being removed for good.
    Purging,
    /// Gone. The row and its history stay; its names are free again.
    Purged,
    /// A run failed, and somebody has to look.
    Failed,
}

impl TenantStatus {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 8] = [Self::Provisioning, Self::Active, Self::Updating, Self::Suspended, Self::Deleted, Self::Purging, Self::Purged, Self::Failed];

    /// As the database and all outputs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Updating => "updating",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
            Self::Purging => "purging",
            Self::Purged => "purged",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for TenantStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TenantStatus {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a tenant status; they are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// A tenant's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Immutable slug.
    pub id: String,
    /// The customer's own id (`LAB001`), if any.
    pub external_id: Option<String>,
    /// For people; may change.
    pub display_name: String,
    /// May change.
    pub subdomain: String,
    /// The product.
    pub stack: String,
    /// `enterprise`, `standard`, `trial`: never an alias.
    pub tier: String,
    /// `rows`, `schema`, `database`, `instance`, `cluster`.
    pub isolation: String,
    /// Where it is in its life.
    pub status: TenantStatus,
    /// Its current desired state.
    pub revision: i32,
    /// When it first became active.
    pub provisioned_at: Option<DateTime<Utc>>,
    /// When its row was made.
    pub created_at: DateTime<Utc>,
    /// When its row last changed.
    pub updated_at: DateTime<Utc>,
}

/// What a desired state says of the tenant itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts<'a> {
    /// The customer's own id, if any.
    pub external_id: Option<&'a str>,
    /// For people.
    pub display_name: &'a str,
    /// Unique.
    pub subdomain: &'a str,
    /// The product.
    pub stack: &'a str,
    /// Normalised.
    pub tier: &'a str,
    /// `rows`, `schema`, `database`, `instance`, `cluster`.
    pub isolation: &'a str,
    /// Physical names it needs, as (kind of name, name): `("schema", "tenant_a_b")`. The subdomain and the external id need not be listed.
    pub names: &'a [(String, String)],
}

impl Facts<'_> {
    /// All names to be claimed, sorted: everybody claims in one order, so that two claimants never wait for each other.
    pub(super) fn claims(&self) -> Vec<(String, String)> {
        let mut all = self.names.to_vec();
        all.push(("subdomain".into(), self.subdomain.into()));
        all.extend(self.external_id.map(|id| ("external_id".into(), id.into())));
        all.sort();
        all.dedup();
        all
    }
}

/// Which tenants to list; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct TenantFilter {
    /// Of that product.
    pub stack: Option<String>,
    /// Of that tier.
    pub tier: Option<String>,
    /// In that state. `None` leaves out the purged ones.
    pub status: Option<TenantStatus>,
}

/// What `tenant show` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TenantView {
    /// Immutable slug.
    pub id: String,
    /// The customer's own id, if any.
    pub external_id: Option<String>,
    /// For people.
    pub display_name: String,
    /// Unique.
    pub subdomain: String,
    /// The product.
    pub stack: String,
    /// Normalised.
    pub tier: String,
    /// How it is kept apart from others.
    pub isolation: String,
    /// Where it is in its life.
    pub status: TenantStatus,
    /// Its current desired state.
    pub revision: i32,
    /// How far, since when and why it is out of use, as that desired state says.
    pub suspension: Option<Suspended>,
    /// Since when and why it is deleted, and from when on it may be purged.
    pub deletion: Option<Deleted>,
    /// How many holds keep it from being purged.
    pub holds: i64,
    /// When it first became active.
    pub provisioned_at: Option<DateTime<Utc>>,
    /// The number of its latest operation.
    pub operation: Option<i64>,
    /// What exists, in the order of creation.
    pub resources: Vec<ResourceLine>,
}

/// One resource, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceLine {
    /// Where, in labctl's map.
    pub address: String,
    /// Its kind.
    pub kind: String,
    /// What the service knows it by; `None` while that is not known.
    pub id: Option<String>,
    /// How it stands.
    pub status: ResourceStatus,
}

impl Registry {
    /// The tenant of that id.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn tenant(&self, id: &str) -> Result<Tenant> {
        self.find_tenant(id).await?.ok_or_else(|| RegistryError::not_found("tenant", id))
    }

    /// The tenant of that id, if there is one.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn find_tenant(&self, id: &str) -> Result<Option<Tenant>> {
        let row: Option<Json<Tenant>> = sqlx::query_scalar("SELECT to_jsonb(t) FROM labctl.tenants t WHERE id = $1")
            .bind(id)
            .fetch_optional(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(row.map(|Json(t)| t))
    }

    /// Tenants by id.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn tenants(&self, filter: &TenantFilter) -> Result<Vec<Tenant>> {
        let found: Vec<Json<Tenant>> = sqlx::query_scalar(
            "SELECT to_jsonb(t) FROM labctl.tenants t
             WHERE ($1::text IS NULL OR stack = $1) AND ($2::text IS NULL OR tier = $2)
               AND CASE WHEN $3::text IS NULL THEN status <> 'purged' ELSE status = $3 END
             ORDER BY id",
        )
        .bind(&filter.stack)
        .bind(&filter.tier)
        .bind(filter.status.map(TenantStatus::as_str))
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(t)| t).collect())
    }

    /// What `tenant show` shows, in one round trip.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn tenant_view(&self, id: &str) -> Result<TenantView> {
        let row: Option<Json<TenantView>> = sqlx::query_scalar(
            "SELECT to_jsonb(t) || jsonb_build_object(
                'suspension', (SELECT r.life -> 'suspended' FROM labctl.revisions r WHERE r.tenant = t.id AND r.number = t.revision),
                'deletion', (SELECT r.life -> 'deleted' FROM labctl.revisions r WHERE r.tenant = t.id AND r.number = t.revision),
                'holds', (SELECT count(*) FROM labctl.holds h WHERE h.tenant = t.id AND h.removed_at IS NULL),
                'operation', (SELECT max(o.number) FROM labctl.operations o WHERE o.tenant = t.id),
                'resources', coalesce((SELECT jsonb_agg(jsonb_build_object('address', r.address, 'kind', r.kind, 'id', r.id, 'status', r.status)
                                                        ORDER BY r.position, r.address)
                                       FROM labctl.resources r WHERE r.tenant = t.id AND r.status <> 'deleted'), '[]'))
             FROM labctl.tenants t WHERE t.id = $1",
        )
        .bind(id)
        .fetch_optional(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        row.map(|Json(view)| view).ok_or_else(|| RegistryError::not_found("tenant", id))
    }

    /// Puts a new tenant and its first revision on record, in one transaction, as `provisioning`. A purged tenant may be made anew; its
    /// revisions go on counting. Returns the revision's number.
    ///
    /// # Errors
    /// [`RegistryError::Exists`], [`RegistryError::NameTaken`], [`RegistryError::Fenced`].
    pub async fn register_tenant(&self, lease: &HeldLease, facts: &Facts<'_>, revision: &NewRevision<'_>) -> Result<i32> {
        let mut tx = self.begin_fenced(lease).await?;
        let number = self.register(&mut tx, lease, facts, revision).await?;
        let detail = json!({"revision": number, "stack": facts.stack, "tier": facts.tier});
        self.audit_in(&mut tx, lease.holder(), "tenant.register", Some(lease.tenant()), &detail).await?;
        self.commit(tx).await?;
        Ok(number)
    }

    pub(super) async fn register(&self, tx: &mut PgConnection, lease: &HeldLease, facts: &Facts<'_>, revision: &NewRevision<'_>) -> Result<i32> {
        let tenant = lease.tenant();
        let number: Option<i32> = sqlx::query_scalar(
            "INSERT INTO labctl.tenants AS t (id, external_id, display_name, subdomain, stack, tier, isolation, status, revision)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'provisioning', 1)
             ON CONFLICT (id) DO UPDATE SET external_id = $2, display_name = $3, subdomain = $4, stack = $5, tier = $6, isolation = $7,
                    status = 'provisioning', revision = t.revision + 1, provisioned_at = NULL
             WHERE t.status = 'purged'
             RETURNING revision",
        )
        .bind(tenant)
        .bind(facts.external_id)
        .bind(facts.display_name)
        .bind(facts.subdomain)
        .bind(facts.stack)
        .bind(facts.tier)
        .bind(facts.isolation)
        .fetch_optional(&mut *tx)
        .await
        .or_else(|e| if is_unique_violation(&e) { Ok(Some(NAME_CLASH)) } else { Err(self.sql(e)) })?;
        match number {
            Some(NAME_CLASH) => Err(self.explain_clash(tenant, facts).await?),
            Some(number) => {
                names::claim(self, tx, tenant, &facts.claims()).await?;
                revisions::insert(self, tx, lease, number, revision).await?;
                Ok(number)
            }
            None => {
                let (status, revision): (String, i32) = sqlx::query_as("SELECT status, revision FROM labctl.tenants WHERE id = $1")
                    .bind(tenant)
                    .fetch_one(&mut *tx)
                    .await
                    .map_err(|e| self.sql(e))?;
                let status = status.parse().map_err(|message| RegistryError::Database { code: "client".into(), message })?;
                Err(RegistryError::Exists { tenant: tenant.to_owned(), status, revision })
            }
        }
    }

    /// Who has the subdomain or the external id, when the table's own index refused it. (The transaction is dead: asks outside of it.)
    pub(super) async fn explain_clash(&self, tenant: &str, facts: &Facts<'_>) -> Result<RegistryError> {
        let found: Option<(String, String, String)> = sqlx::query_as(
            "SELECT CASE WHEN subdomain = $2 THEN 'subdomain' ELSE 'external_id' END, CASE WHEN subdomain = $2 THEN subdomain ELSE external_id END, id
             FROM labctl.tenants WHERE (subdomain = $2 OR external_id = $3) AND id <> $1 AND status <> 'purged' LIMIT 1",
        )
        .bind(tenant)
        .bind(facts.subdomain)
        .bind(facts.external_id)
        .fetch_optional(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        let (kind, name, tenant) = found.unwrap_or_else(|| ("subdomain".into(), facts.subdomain.into(), "(just gone)".into()));
        Ok(RegistryError::NameTaken { kind, name, tenant })
    }

    /// Moves a tenant's status by itself; runs do it in [`Registry::begin_operation`] and [`Registry::finish_operation`].
    ///
    /// # Errors
    /// [`RegistryError::IllegalMove`], [`RegistryError::NotFound`], [`RegistryError::Fenced`].
    pub async fn set_status(&self, lease: &HeldLease, status: TenantStatus) -> Result<()> {
        let mut tx = self.begin_fenced(lease).await?;
        self.move_status(&mut tx, lease.tenant(), status).await?;
        self.audit_in(&mut tx, lease.holder(), "tenant.status", Some(lease.tenant()), &json!({"status": status})).await?;
        self.commit(tx).await
    }

    pub(super) async fn move_status(&self, tx: &mut PgConnection, tenant: &str, status: TenantStatus) -> Result<()> {
        let moved = sqlx::query(
            "UPDATE labctl.tenants
             SET status = $2, provisioned_at = CASE WHEN $2 = 'active' THEN coalesce(provisioned_at, clock_timestamp()) ELSE provisioned_at END
             WHERE id = $1",
        )
        .bind(tenant)
        .bind(status.as_str())
        .execute(tx)
        .await
        .map_err(|e| self.sql(e))?;
        if moved.rows_affected() == 0 { Err(RegistryError::not_found("tenant", tenant)) } else { Ok(()) }
    }
}

/// Stands for "a unique index other than the key refused": no revision has this number.
const NAME_CLASH: i32 = -1;

pub(super) fn is_unique_violation(e: &sqlx::Error) -> bool {
    e.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
