//! Ownership tags, and their shape in each service.
//!
//! Three tags say whose a thing is: [`TENANT`], [`ADDRESS`] and [`REGISTRY`] (so that two registries never adopt each other's). They
//! go in the create call. [`ownership`] is the one place that reads them back.

use crate::engine::kind::{Address, Tags};

/// Id of the tenant.
pub const TENANT: &str = "labctl:tenant";
/// Address of the resource.
pub const ADDRESS: &str = "labctl:address";
/// Id of the registry that made it.
pub const REGISTRY: &str = "labctl:registry";

/// Whose a thing is, by its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// This very address, of this registry.
    Mine,
    /// Somebody else's, or nobody's; the text says whose, for people.
    Foreign(String),
}

/// Reads ownership: `found` are the tags the thing carries, `want` those this address carries.
pub fn ownership(found: &Tags, want: &Tags) -> Ownership {
    if [TENANT, ADDRESS, REGISTRY].iter().all(|k| want.contains_key(*k) && found.get(*k) == want.get(*k)) {
        return Ownership::Mine;
    }
    Ownership::Foreign(match (found.get(ADDRESS), found.get(REGISTRY)) {
        (Some(address), registry) if registry == want.get(REGISTRY) => format!("it belongs to {address}"),
        (Some(address), _) => format!("it belongs to {address} of another labctl registry"),
        (None, _) => "it carries no labctl ownership tags".to_owned(),
    })
}

/// The three ownership tags of an address.
pub fn owned(address: &Address, registry: &str) -> Tags {
    Tags::from([(TENANT.to_owned(), address.tenant.clone()), (ADDRESS.to_owned(), address.to_string()), (REGISTRY.to_owned(), registry.to_owned())])
}

/// Words for people and a last line with the ownership as compact JSON, for what carries a description but no tags.
pub fn compose(words: &str, tags: &Tags) -> String {
    let owner: Tags = [TENANT, ADDRESS, REGISTRY].into_iter().filter_map(|k| Some((k.to_owned(), tags.get(k)?.clone()))).collect();
    let line = serde_json::to_string(&owner).unwrap_or_default();
    if words.is_empty() { line } else { format!("{words}\n{line}") }
}

/// The two parts of such a text.
pub fn take_apart(text: &str) -> (&str, Tags) {
    let (words, line) = text.rsplit_once('\n').unwrap_or(("", text));
    serde_json::from_str(line).map_or_else(|_| (text, Tags::new()), |tags| (words, tags))
}

/// Tags as a service's own list type: `list(tags, |k, v| Tag::builder().key(k).value(v).build())`.
pub fn list<T>(tags: &Tags, make: impl Fn(&str, &str) -> T) -> Vec<T> {
    tags.iter().map(|(k, v)| make(k, v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_is_the_last_line_and_people_read_the_rest() {
        let tags = owned(&Address::new("a", "cognito_group", "members"), "r1");
        for words in ["Members of A", "two\nlines", ""] {
            let text = compose(words, &tags);
            assert_eq!(take_apart(&text), (words, tags.clone()), "{text}");
        }
        assert_eq!(take_apart("somebody's own words"), ("somebody's own words", Tags::new()));
        assert_eq!(take_apart("Members\n{not ours"), ("Members\n{not ours", Tags::new()));
    }

    #[test]
    fn only_the_same_tenant_address_and_registry_is_mine() {
        let want = owned(&Address::new("a", "s3_bucket", "data"), "r1");
        assert_eq!(ownership(&want, &want), Ownership::Mine);
        let rows = [
            (owned(&Address::new("b", "s3_bucket", "data"), "r1"), "it belongs to b/s3_bucket/data"),
            (owned(&Address::new("a", "s3_bucket", "data"), "r2"), "it belongs to a/s3_bucket/data of another labctl registry"),
            (Tags::new(), "it carries no labctl ownership tags"),
        ];
        for (found, text) in rows {
            assert_eq!(ownership(&found, &want), Ownership::Foreign(text.into()));
        }
    }
}
