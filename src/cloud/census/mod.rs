//! A census: what there is of one tenant, or of all of a registry's, in AWS, asked of every service itself, one file each.
//!
//! It knows nothing of kinds, plans or records of work done: a thing is the tenant's when it carries the tenant's ownership tags, or
//! an id under which something of the tenant's is or was on record. So it finds what they have forgotten, and what came back.
//!
//! # Caveats
//! Never writes. A service's lists may lag behind by seconds: whoever counts on an empty one asks again. A listing says how many things
//! it could not read (another team's, closed to labctl): their tags are unknown, their ids were compared.

mod autoscaling;
mod cognito;
mod ecs;
mod iam;
mod kms;
mod logs;
mod rds;
mod s3;
mod secrets;
mod tagging;

use std::collections::BTreeSet;

pub use cognito::{Login, Who, logins};

use chrono::{DateTime, Utc};
use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};

use super::Cloud;
use super::tags::{ADDRESS, REGISTRY, TENANT};
use crate::engine::fault::Fault;
use crate::engine::kind::{Boxed, Tags};

/// How many calls about single things are in flight at once, in each service.
const AT_ONCE: usize = 8;

/// Whose things are looked for.
#[derive(Debug, Clone)]
pub struct Whose {
    /// The tenant's id; none for all tenants of the registry.
    pub tenant: Option<String>,
    /// The registry's identity.
    pub registry: String,
    /// Everything the services know (or ever knew) something of theirs by: names, ARNs, `pool/user`, `s3://bucket/prefix/`.
    pub ids: BTreeSet<String>,
    /// Buckets and user pools that tenants share, to be looked into even where no id leads there.
    pub shared: BTreeSet<String>,
    /// Also what no resource stands for: objects, people, running tasks, revisions out of use, copies of databases.
    pub leftovers: bool,
}

impl Whose {
    /// Whether a thing of that id, with those tags, is theirs.
    pub fn owns(&self, id: &str, tags: &Tags) -> bool {
        let theirs = |tenant: &String| self.tenant.as_ref().is_none_or(|t| t == tenant);
        let tagged = tags.get(TENANT).is_some_and(theirs) && tags.get(REGISTRY) == Some(&self.registry);
        tagged || self.ids.contains(id)
    }
}

/// One thing of the tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it is (`bucket`, `user`).
    pub what: String,
    /// What the service knows it by.
    pub id: String,
    /// The address its tags say, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// It is on its way out, and gone by itself at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// What one service answered to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The service (`s3`, `postgres`).
    pub service: String,
    /// The question (`ListBuckets`).
    pub call: String,
    /// How many things it has.
    pub listed: usize,
    /// How many of them could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub closed: usize,
    /// Those of the tenant's.
    pub found: Vec<Found>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Listing {
    /// An answer without anything in it.
    pub fn new(service: &str, call: &str) -> Self {
        Self { service: service.to_owned(), call: call.to_owned(), listed: 0, closed: 0, found: Vec::new() }
    }

    /// Takes a listed thing in, and notes it if it is theirs.
    pub fn take(&mut self, whose: &Whose, what: &str, id: &str, tags: &Tags) {
        self.listed += 1;
        if whose.owns(id, tags) {
            self.note(what, id, tags, None);
        }
    }

    /// Notes a thing of theirs that is not listed by itself, or is on its way out.
    pub fn note(&mut self, what: &str, id: &str, tags: &Tags, until: Option<DateTime<Utc>>) {
        self.found.push(Found { what: what.to_owned(), id: id.to_owned(), address: tags.get(ADDRESS).cloned(), until });
    }
}

/// Asks every service.
///
/// # Errors
/// The first service that could not be asked: an empty census is a statement, and not for want of an answer.
pub async fn census(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let services = services(cloud, whose).into_iter().map(|(_, listing)| listing);
    Ok(try_join_all(services).await?.into_iter().flatten().collect())
}

/// Asks every service; one that could not be asked holds up no other.
pub async fn of_each(cloud: &Cloud, whose: &Whose) -> Vec<(&'static str, Result<Vec<Listing>, Fault>)> {
    let (names, listings): (Vec<_>, Vec<_>) = services(cloud, whose).into_iter().unzip();
    names.into_iter().zip(join_all(listings).await).collect()
}

type Listed<'a> = Boxed<'a, Result<Vec<Listing>, Fault>>;

fn services<'a>(cloud: &'a Cloud, whose: &'a Whose) -> Vec<(&'static str, Listed<'a>)> {
    vec![
        ("s3", Box::pin(s3::list(cloud, whose))),
        ("cognito-idp", Box::pin(cognito::list(cloud, whose))),
        ("ecs", Box::pin(ecs::list(cloud, whose))),
        ("application-autoscaling", Box::pin(autoscaling::list(cloud, whose))),
        ("rds", Box::pin(rds::list(cloud, whose))),
        ("secretsmanager", Box::pin(secrets::list(cloud, whose))),
        ("kms", Box::pin(kms::list(cloud, whose))),
        ("logs", Box::pin(logs::list(cloud, whose))),
        ("iam", Box::pin(iam::list(cloud, whose))),
        ("tagging", Box::pin(tagging::list(cloud, whose))),
    ]
}

/// A service's time as ours.
fn time(at: &aws_smithy_types::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.secs(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::tags::owned;
    use crate::engine::kind::Address;

    #[test]
    fn theirs_is_what_bears_their_tags_or_an_id_once_on_record_and_nothing_else() {
        let ids = BTreeSet::from(["a-data".to_owned()]);
        let whose = Whose { tenant: Some("a".into()), registry: "r1".into(), ids, shared: BTreeSet::new(), leftovers: true };
        let mut listing = Listing::new("s3", "ListBuckets");
        let rows = [
            ("other-name", owned(&Address::new("a", "s3_bucket", "data"), "r1"), true),
            ("a-data", Tags::new(), true),
            ("b-data", owned(&Address::new("b", "s3_bucket", "data"), "r1"), false),
            ("a-logs", owned(&Address::new("a", "s3_bucket", "data"), "r2"), false),
            ("somebody", Tags::new(), false),
        ];
        for (id, tags, theirs) in rows.clone() {
            let before = listing.found.len();
            listing.take(&whose, "bucket", id, &tags);
            assert_eq!(listing.found.len() > before, theirs, "{id}");
        }
        let everybody = Whose { tenant: None, ..whose };
        let theirs = rows.map(|(id, tags, _)| everybody.owns(id, &tags));
        assert_eq!(theirs, [true, true, true, false, false], "another registry's are nobody's here");
        assert_eq!((listing.listed, listing.found[0].address.as_deref(), listing.found[1].address.as_deref()), (5, Some("a/s3_bucket/data"), None));
    }
}
