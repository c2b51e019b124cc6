//! A fleet made quickly: schemas as labctl makes them, and registry rows as their creation would have left them; nothing in AWS. For what is
//! measured and tested of a fleet's migrations, nothing else of a tenant matters.

use futures_util::future::try_join_all;
use labctl::engine::fault::Fault;
use labctl::engine::kind::Tags;
use labctl::tenantdb::grants::Parties;
use labctl::tenantdb::migrations::apply::{self, Job, Ledger};
use labctl::tenantdb::migrations::ledger::To;
use labctl::tenantdb::migrations::{Library, Step};
use labctl::tenantdb::quote::Ident;
use labctl::tenantdb::{Databases, Login, comment, schemas};
use serde_json::{Value, json};
use sqlx::PgConnection;

/// Where a fleet is planted.
pub struct Ground<'a> {
    pub databases: &'a Databases,
    pub admin: &'a Login,
    /// As resources name it.
    pub endpoint: &'a str,
    pub admin_secret_arn: &'a str,
    pub registry: String,
}

pub fn tenant(tag: &str, n: usize) -> String {
    format!("{tag}-{n:04}")
}

pub fn schema(tag: &str, n: usize) -> String {
    format!("tenant_{tag}_{n:04}")
}

pub fn role(tag: &str, n: usize, part: &str) -> Ident {
    Ident::new(&format!("{tag}_{n:04}_{part}")).unwrap()
}

fn address(tag: &str, n: usize) -> String {
    format!("{}/postgres_schema_version/main", tenant(tag, n))
}

impl Ground<'_> {
    /// The roles of these tenants; those that log in have no password.
    pub async fn roles(&self, tag: &str, range: std::ops::Range<usize>) -> Result<(), Fault> {
        let mut db = self.databases.connect(self.admin).await?;
        for n in range {
            let sql = format!("CREATE ROLE {}; CREATE ROLE {}; CREATE ROLE {}", role(tag, n, "owner"), role(tag, n, "migrate"), role(tag, n, "app"));
            db.execute("postgres:CREATE ROLE", sql).await?;
        }
        Ok(())
    }

    /// The roles of one tenant, as its schema knows them.
    pub fn parties(&self, tag: &str, n: usize) -> Result<Parties, Fault> {
        Ok(Parties {
            owner: role(tag, n, "owner"),
            migration: role(tag, n, "migrate"),
            app: role(tag, n, "app"),
            readonly: None,
            admin: Ident::new(&self.admin.username)?,
            read_only: false,
            row_security: false,
            connect: None,
        })
    }

    /// The comment by which one tenant's thing is its own.
    pub fn comment(&self, kind: &str, tag: &str, n: usize) -> String {
        let address = format!("{}/{kind}/main", tenant(tag, n));
        let tags = [("labctl:tenant", tenant(tag, n)), ("labctl:address", address), ("labctl:registry", self.registry.clone())];
        let tags: Tags = tags.map(|(k, v)| (k.to_owned(), v)).into();
        comment::write(&tags, &[])
    }

    /// One tenant's schema with its grants, and its migrations.
    pub async fn schema(&self, tag: &str, n: usize, steps: &[Step], library: &Library) -> Result<(), Fault> {
        let mut db = self.databases.connect(self.admin).await?;
        let (name, database) = (Ident::new(&schema(tag, n))?, Ident::new(&self.admin.database)?);
        let parties = self.parties(tag, n)?;
        schemas::create(&mut db, &name, &database, &parties, &self.comment("postgres_schema", tag, n)).await?;
        let comment = self.comment("postgres_schema_version", tag, n);
        let job = Job {
            schema: &name,
            role: &parties.migration,
            tenant: &tenant(tag, n),
            wanted: steps,
            to: &To::new(),
            ledger: Ledger::Make { comment: &comment, baseline: &[] },
            believed: None,
            lock_timeout: apply::LOCK_TIMEOUT,
            shared: None,
        };
        apply::migrate(&mut db, &job, library).await.map(drop)
    }

    /// Many schemas, `hands` at a time.
    pub async fn schemas(&self, tag: &str, range: std::ops::Range<usize>, hands: usize, steps: &[Step], library: &Library) -> Result<(), Fault> {
        self.many(range, hands, async |n| self.schema(tag, n, steps, library).await).await
    }

    /// Many, `hands` at a time.
    pub async fn many(&self, range: std::ops::Range<usize>, hands: usize, make: impl AsyncFn(usize) -> Result<(), Fault>) -> Result<(), Fault> {
        let next = std::sync::atomic::AtomicUsize::new(range.start);
        let hand = || async {
            loop {
                let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if n >= range.end {
                    return Ok(());
                }
                make(n).await?;
            }
        };
        try_join_all((0..hands).map(|_| hand())).await.map(drop)
    }

    /// What the registry would have of these tenants, each with the tag `fleet=<tag>`.
    pub async fn record(&self, db: &mut PgConnection, tag: &str, range: std::ops::Range<usize>, stack: &str, steps: &[Step]) -> Result<(), sqlx::Error> {
        let tenants: Vec<String> = range.clone().map(|n| tenant(tag, n)).collect();
        let schemas: Vec<String> = range.clone().map(|n| schema(tag, n)).collect();
        let version = steps.last().map_or(0, |s| s.version).to_string();
        let host = json!({"endpoint": self.endpoint, "admin_secret_arn": self.admin_secret_arn});
        let specs: Vec<Value> = range
            .clone()
            .map(|n| json!({"host": host, "database": self.admin.database, "schema": schema(tag, n), "role": role(tag, n, "migrate").name(), "migrations": steps}))
            .collect();
        let addresses: Vec<String> = range.map(|n| address(tag, n)).collect();
        let mut tx = sqlx::Connection::begin(db).await?;
        sqlx::query(
            "INSERT INTO labctl.tenants (id, display_name, subdomain, stack, tier, isolation, revision)
             SELECT t, t, t, $2, (ARRAY['trial', 'standard'])[1 + n % 2], 'schema', 1 FROM unnest($1::text[]) WITH ORDINALITY u (t, n)",
        )
        .bind(&tenants)
        .bind(stack)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO labctl.revisions (tenant, number, spec, who, host, command)
             SELECT t, 1, jsonb_build_object('id', t, 'display_name', t, 'subdomain', t, 'tier', 'trial', 'stack', $2::text, 'email', 'admin@example.org',
                    'modules', '[]'::jsonb, 'tags', jsonb_build_object('fleet', $3::text)), 'plant', 'plant', 'plant' FROM unnest($1::text[]) t",
        )
        .bind(&tenants)
        .bind(stack)
        .bind(tag)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO labctl.operations (tenant, verb, revision, status, who, host, pid, command, version, plan)
             SELECT t, 'create', 1, 'done', 'plant', 'plant', 1, 'plant', '0', '{}' FROM unnest($1::text[]) t",
        )
        .bind(&tenants)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO labctl.resources (address, tenant, kind, name, id, status, spec, outputs, position, operation)
             SELECT u.address, u.tenant, 'postgres_schema_version', 'main', u.schema, 'ready', u.spec, jsonb_build_object('version', $5::text), 1, o.number
             FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[]) u (tenant, address, schema, spec) JOIN labctl.operations o ON o.tenant = u.tenant",
        )
        .bind(&tenants)
        .bind(&addresses)
        .bind(&schemas)
        .bind(&specs)
        .bind(&version)
        .execute(&mut *tx)
        .await?;
        sqlx::query("UPDATE labctl.tenants SET status = 'active', provisioned_at = clock_timestamp() WHERE id = ANY ($1)")
            .bind(&tenants)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}
