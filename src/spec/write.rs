//! From specs to text: a commented new one, any one back to TOML, and the JSON Schema for editors.

use std::fmt::Write as _;

use serde_json::Value;

use super::rules;
use super::tenant::{Sso, TenantSpec, Tier};

/// The JSON Schema (2020-12) of a spec file, for editors and other programs.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(TenantSpec).to_value();
    // In the file overrides may also be written as nested tables, and the subdomain may be left out.
    schema["properties"]["overrides"]["additionalProperties"] = serde_json::json!({ "type": ["string", "number", "boolean", "object"] });
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|field| field != "subdomain");
    }
    schema["properties"]["tags"]["maxProperties"] = Value::from(rules::TAGS_MAX);
    schema["title"] = Value::from("labctl tenant");
    schema
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn key(text: &str) -> String {
    let bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { text.to_owned() } else { quoted(text) }
}

/// A commented spec to begin with. `email` and `display_name` are guesses to be changed.
pub fn new_spec(id: &str, tier: Tier, stack: &str) -> String {
    let title: Vec<String> = id.split('-').map(|w| w.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(w.chars().skip(1)).collect()).collect();
    format!(
        r#"# A tenant of labctl. Check with `labctl spec validate`, make it so with `labctl tenant apply`.

# The name for machines: a-z, 0-9 and "-", 2 to 40 characters. It can never change.
id = {id}

# The name for people.
display_name = {title}

# trial, standard or enterprise: see `labctl tier list`.
tier = "{tier}"

# The product: a folder in templates/.
stack = {stack}

# The contact, who is also invited as first administrator once everything else stands.
email = {email}

# The name in another system.
# external_id = "LAB001"

# The first label of the host name, and what the database schema is named after. The id, unless given.
# subdomain = {id}

# Parts of the product besides its core.
# modules = ["core"]

# Settings this tenant has otherwise than its tier, as far as the tier allows: see `labctl tier show {name} {tier}`.
# [overrides]
# log_retention_days = {days}

# A schema of the tenant's that exists already is taken over, and its tables are what the migrations up to these have made.
# [database]
# adopt = true
# baseline = {{ tenant = 1 }}

# Sign-in through the tenant's own identity provider.
# [sso]
# kind = "saml"                                     # or "oidc", with issuer, client_id, client_secret_arn
# metadata_url = "https://login.example.org/metadata.xml"

# Tags for everything made for this tenant, besides labctl's own.
# [tags]
# CostCenter = "4711"
"#,
        id = quoted(id),
        title = quoted(&title.join(" ")),
        stack = quoted(stack),
        name = stack,
        days = match tier {
            Tier::Trial => 90,
            Tier::Standard => 180,
            Tier::Enterprise => 2192,
        },
        email = quoted(&format!("admin@{id}.example")),
    )
}

/// A spec as the TOML that reads back as the very same.
pub fn to_toml(spec: &TenantSpec) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{key} = {value}");
    };
    line("id", quoted(&spec.id));
    if let Some(external) = &spec.external_id {
        line("external_id", quoted(external));
    }
    line("display_name", quoted(&spec.display_name));
    if spec.subdomain != spec.id {
        line("subdomain", quoted(&spec.subdomain));
    }
    line("tier", quoted(spec.tier.as_str()));
    line("stack", quoted(&spec.stack));
    line("email", quoted(&spec.email));
    if !spec.modules.is_empty() {
        line("modules", format!("[{}]", spec.modules.iter().map(|m| quoted(m)).collect::<Vec<_>>().join(", ")));
    }
    if !spec.overrides.is_empty() {
        out.push_str("\n[overrides]\n");
        for (path, value) in &spec.overrides {
            let path: Vec<_> = path.split('.').map(key).collect();
            let value = value.as_str().map_or_else(|| value.to_string(), quoted);
            let _ = writeln!(out, "{} = {value}", path.join("."));
        }
    }
    if let Some(database) = &spec.database {
        let _ = writeln!(out, "\n[database]\nadopt = {}", database.adopt);
        if !database.baseline.is_empty() {
            let versions: Vec<_> = database.baseline.iter().map(|(folder, version)| format!("{} = {version}", key(folder))).collect();
            let _ = writeln!(out, "baseline = {{ {} }}", versions.join(", "));
        }
    }
    if let Some(sso) = &spec.sso {
        let _ = writeln!(out, "\n[sso]\nkind = \"{}\"", sso.kind());
        let fields = match sso {
            Sso::Saml { metadata_url, metadata_file } => [("metadata_url", metadata_url.as_ref()), ("metadata_file", metadata_file.as_ref()), ("", None)],
            Sso::Oidc { issuer, client_id, client_secret_arn } => {
                [("issuer", Some(issuer)), ("client_id", Some(client_id)), ("client_secret_arn", client_secret_arn.as_ref())]
            }
        };
        for (key, value) in fields.into_iter().filter_map(|(k, v)| v.map(|v| (k, v))) {
            let _ = writeln!(out, "{key} = {}", quoted(value));
        }
    }
    if !spec.tags.is_empty() {
        out.push_str("\n[tags]\n");
        for (tag, value) in &spec.tags {
            let _ = writeln!(out, "{} = {}", key(tag), quoted(value));
        }
    }
    out
}
