//! An empty database in the tests' sandbox for each test, and a registry's handle on it.

use std::net::TcpListener;

use labctl::registry::{Registry, Settings, Tls};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::world;

/// A database, and a registry's handle on it, as the role that owns registries: no superuser.
pub struct World {
    pub settings: Settings,
    pub registry: Registry,
}

impl World {
    /// Connects as the superuser.
    pub async fn connection(&self) -> PgConnection {
        world::world().superuser(&self.settings.database).await
    }

    /// Runs SQL behind the registry's back, as the superuser.
    pub async fn sql(&self, sql: &str) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection().await).await.map(drop)
    }

    /// Everything a tenant's operator could have changed.
    pub async fn dump(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT row_to_json(t)::text FROM labctl.tenants t UNION ALL SELECT row_to_json(n)::text FROM labctl.names n
             UNION ALL SELECT row_to_json(r)::text FROM labctl.revisions r UNION ALL SELECT row_to_json(o)::text FROM labctl.operations o
             UNION ALL SELECT row_to_json(s)::text FROM labctl.steps s UNION ALL SELECT row_to_json(r)::text FROM labctl.resources r
             UNION ALL SELECT row_to_json(a)::text FROM labctl.audit a ORDER BY 1",
        )
        .fetch_all(&mut self.connection().await)
        .await
        .unwrap()
    }
}

/// A fresh registry.
pub async fn world() -> World {
    let world = uninitialised().await;
    world.registry.init().await.unwrap();
    world
}

/// A fresh database without a registry.
pub async fn uninitialised() -> World {
    const OWNER: &str = "labctl_registry";
    let world = world::world();
    let settings = Settings {
        host: "127.0.0.1".into(),
        port: world.port(),
        database: world.database(OWNER).await,
        user: OWNER.into(),
        password: Some(world.password(OWNER)),
        tls: Tls::Disable,
        root_certificate: None,
    };
    let registry = Registry::open(&settings);
    World { settings, registry }
}

/// A port nobody listens on, at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
