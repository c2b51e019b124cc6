//! Ownership in a comment: one line of JSON, set in the transaction that makes the object.
//!
//! Anyone who can log in can read the comments of roles and databases, so they hold no secret.

use std::collections::BTreeMap;

use crate::engine::kind::Tags;

/// Tags with this prefix say whose a thing is; only they go into a comment.
const OWNERSHIP: &str = "labctl:";

/// Writes the ownership tags among `tags`, and `extra` keys, as one line.
pub fn write(tags: &Tags, extra: &[(&str, &str)]) -> String {
    let mut all: BTreeMap<&str, &str> = tags.iter().filter(|(k, _)| k.starts_with(OWNERSHIP)).map(|(k, v)| (k.as_str(), v.as_str())).collect();
    all.extend(extra.iter().copied());
    serde_json::json!(all).to_string()
}

/// Reads a comment back. One that is not ours reads as no tags at all.
pub fn read(comment: Option<&str>) -> Tags {
    comment.and_then(|c| serde_json::from_str(c).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_goes_in_and_comes_out_and_other_tags_stay_outside() {
        let tags = Tags::from([("labctl:tenant".into(), "a".into()), ("Environment".into(), "production".into())]);
        let comment = write(&tags, &[("password_version", "v1")]);
        assert_eq!(comment, r#"{"labctl:tenant":"a","password_version":"v1"}"#);
        assert_eq!(read(Some(&comment)).len(), 2);
    }

    #[test]
    fn a_strangers_comment_reads_as_no_tags() {
        for comment in [None, Some("the billing database"), Some("[1]"), Some("{\"a\":1}")] {
            assert_eq!(read(comment), Tags::new());
        }
    }
}
