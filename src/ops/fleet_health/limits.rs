//! What a database host holds at most: as the profile says of a shared one, as a tenant's record says of the tenant's own.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::limits;
use crate::registry::data::TenantData;

/// A host's limits; none where nobody has said one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Of all databases.
    pub(super) bytes: Option<i64>,
    /// Tenants' schemas.
    pub(super) schemas: Option<i64>,
}

/// Those of the platform's shared servers, by endpoint.
pub(super) fn of_platform(platform: &Value) -> BTreeMap<String, Limits> {
    let text = |server: &Value, key: &str| server[key].as_str().map_or_else(|| server[key].to_string(), ToOwned::to_owned);
    let servers = platform["databases"].as_object().into_iter().flat_map(|all| all.values());
    let of = |server: &Value| {
        // A platform may say a server by its endpoint, or by host and port.
        let endpoint = server["endpoint"].as_str().map_or_else(|| format!("{}:{}", text(server, "host"), text(server, "port")), ToOwned::to_owned);
        let limits = Limits { bytes: server["max_bytes"].as_str().and_then(limits::bytes), schemas: server["max_schemas"].as_i64() };
        (endpoint, limits)
    };
    servers.map(of).collect()
}

/// The bytes of the instance or cluster that a tenant has for itself, if its schema is there: what RDS may enlarge its storage to, else what
/// was given. RDS puts its name in front of the endpoint.
pub(super) fn of_own_server(data: &TenantData, endpoint: &str) -> Option<i64> {
    let server = data.resources.iter().find(|r| {
        let named = r.spec["identifier"].as_str().and_then(|name| endpoint.strip_prefix(name)).is_some_and(|rest| rest.starts_with('.'));
        matches!(r.kind.as_str(), "rds_instance" | "rds_cluster") && named
    })?;
    let gibibytes = ["storage_gb", "max_storage_gb"].iter().filter_map(|key| server.spec[*key].as_i64()).max()?;
    gibibytes.checked_mul(1 << 30)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shared_servers_limits_are_what_the_profile_says() {
        let all = of_platform(&json!({"databases": {
            "shared": {"endpoint": "shared:5432", "max_bytes": "2GB", "max_schemas": 300},
            "other": {"host": "other", "port": 5433, "max_schemas": 5},
            "third": {"endpoint": "third:5432"}}}));
        assert_eq!(all["shared:5432"], Limits { bytes: Some(2 << 30), schemas: Some(300) });
        assert_eq!(all["other:5433"], Limits { bytes: None, schemas: Some(5) });
        assert_eq!(all["third:5432"], Limits::default());
        assert!(of_platform(&json!({})).is_empty());
    }

    #[test]
    fn a_tenants_own_server_holds_what_its_storage_may_grow_to() {
        let of = |kind: &str, spec: Value, endpoint: &str| {
            let data: TenantData = serde_json::from_value(json!({
                "tenant": {"id": "a", "external_id": null, "display_name": "A", "subdomain": "a", "stack": "s", "tier": "standard", "isolation": "instance",
                    "status": "active", "revision": 1, "provisioned_at": null, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"},
                "modules": [], "resources": [{"kind": kind, "name": "main", "spec": spec}]}))
            .unwrap();
            of_own_server(&data, endpoint)
        };
        let (at, grows) = ("mate-a.abc.eu-central-1.rds.amazonaws.com:5432", json!({"identifier": "mate-a", "storage_gb": 50, "max_storage_gb": 200}));
        assert_eq!(of("rds_instance", grows.clone(), at), Some(200 << 30));
        assert_eq!(of("rds_cluster", json!({"identifier": "mate-a", "storage_gb": 100}), at), Some(100 << 30));
        assert_eq!(of("rds_instance", grows.clone(), "mate-ab.abc.eu-central-1.rds.amazonaws.com:5432"), None, "another's server");
        assert_eq!(of("postgres_schema", grows, at), None);
    }
}
