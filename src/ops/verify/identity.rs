//! Isolation in Cognito: a token of one tenant's must not be valid for another. Its issuer (the pool) differs, or its group claim does, and
//! nobody can write the claim that says whose he is.
//!
//! labctl has no user's password and obtains no token: it reads from Cognito what tokens are made of. With real tokens
//! `tests/it/e2e/verify.rs` does it.

use super::probe::{Area, Finding, Findings, LeftOut, Verdict};
use super::subject::Subject;
use crate::cloud::Cloud;
use crate::cloud::pool::{self, SignIn, TENANT_ID};
use crate::engine::fault::Fault;

/// A tenant's users: where they are, and by what they are known.
struct Users<'a> {
    pool: &'a str,
    group: Option<&'a str>,
    client: Option<String>,
    names: Vec<&'a str>,
}

/// # Errors
/// What is missing of the record of something that is there.
fn users(s: &Subject) -> Result<Option<Users<'_>>, Fault> {
    let pools = ["cognito_group", "cognito_user", "cognito_user_pool_client"].into_iter().flat_map(|kind| s.texts(kind, "pool_id"));
    let Some(pool) = pools.collect::<Result<Vec<_>, _>>()?.first().copied() else { return Ok(None) };
    let group = s.texts("cognito_group", "name").next().transpose()?;
    let names = s.texts("cognito_user", "email").collect::<Result<_, _>>()?;
    let client = s.arns("cognito_user_pool_client").next().transpose()?;
    if let Some(id) = client.as_ref().filter(|id| !id.contains('/')) {
        return Err(Fault::refused("registry:resources", "unreadable", format!("`{id}` is not the id of a client of {}", s.tenant)));
    }
    Ok(Some(Users { pool, group, client: client.and_then(|id| id.rsplit_once('/').map(|(_, client)| client.to_owned())), names }))
}

/// A probe: what it is after, and what must be so.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Unique among all probes.
    pub id: &'static str,
    /// What an attacker would be after.
    pub what: &'static str,
    /// What must be so.
    pub expected: &'static str,
}

/// Every probe there is. How each is made, `answer` says.
pub const PROBES: &[Probe] = &[
    Probe { id: "issuer_or_group", what: "have a token with the neighbour's issuer and group", expected: "another pool, or nobody in both groups" },
    Probe { id: "foreign_client", what: "have its own pool take the neighbour's client", expected: "ResourceNotFoundException" },
    Probe { id: "foreign_user", what: "be known in the neighbour's pool", expected: "UserNotFoundException" },
    Probe { id: "group_members", what: "be a member of the neighbour's group", expected: "every member's claim is the neighbour's" },
    Probe { id: "own_claim", what: "carry the neighbour's claim", expected: "every user's claim is its own tenant's" },
    Probe { id: "claim_fixed", what: "change its claim", expected: "custom:tenant_id is there and immutable" },
    Probe { id: "claim_unwritable", what: "write its claim through a client", expected: "no client writes custom:tenant_id" },
    Probe { id: "tier_unwritable", what: "write its tier through a client", expected: "no client writes custom:tenant_tier" },
    Probe { id: "sign_up", what: "sign up by itself", expected: "only administrators create users" },
];

/// What a probe came to: what was asked, the answer, whether the wall stands. `None` where there was nothing to ask.
type Answer = Result<(String, String, bool), Fault>;

/// Tries everything on a neighbour.
pub async fn attack(cloud: &Cloud, a: &Subject, b: &Subject) -> Findings {
    let mut all = Findings::default();
    let (ours, theirs) = match (users(a), users(b)) {
        (Ok(Some(ours)), Ok(Some(theirs))) => (ours, theirs),
        (Err(fault), _) | (_, Err(fault)) => {
            all.findings.extend(PROBES.iter().map(|p| finding(p, a, b, (fault.call.clone(), fault.to_string(), Verdict::NotRun))));
            return all;
        }
        _ => {
            let why = format!("`{}` or `{}` has no users in Cognito", a.tenant, b.tenant);
            all.left_out.extend(PROBES.iter().map(|p| LeftOut { probe: p.id.to_owned(), against: Some(b.tenant.clone()), why: why.clone() }));
            return all;
        }
    };
    for probe in PROBES {
        match answer(probe.id, cloud, (a, &ours), (b, &theirs)).await {
            Err(why) => all.left_out.push(LeftOut { probe: probe.id.to_owned(), against: Some(b.tenant.clone()), why }),
            Ok(answer) => {
                let came_to = match answer {
                    Ok((tried, got, stands)) => (tried, got, if stands { Verdict::Refused } else { Verdict::Breach }),
                    Err(fault) => (fault.call.clone(), fault.to_string(), Verdict::NotRun),
                };
                all.findings.push(finding(probe, a, b, came_to));
            }
        }
    }
    all
}

fn finding(probe: &Probe, a: &Subject, b: &Subject, (tried, got, verdict): (String, String, Verdict)) -> Finding {
    Finding {
        probe: probe.id.to_owned(),
        area: Area::Identity,
        what: probe.what.to_owned(),
        tried,
        by: format!("users of {}", a.tenant),
        against: Some(b.tenant.clone()),
        expected: probe.expected.to_owned(),
        got,
        verdict,
    }
}

/// # Errors
/// Why there is nothing to try.
async fn answer(id: &str, cloud: &Cloud, (a, ours): (&Subject, &Users<'_>), (b, theirs): (&Subject, &Users<'_>)) -> Result<Answer, String> {
    let same_pool = ours.pool == theirs.pool;
    Ok(match id {
        "issuer_or_group" => issuer_or_group(cloud, ours, theirs).await,
        "foreign_client" => {
            let client = theirs.client.as_deref().filter(|_| !same_pool).ok_or_else(|| format!("`{}` has no client of its own", b.tenant))?;
            let tried = format!("AdminInitiateAuth at pool {} through client {client}", ours.pool);
            pool::sign_in(cloud, ours.pool, client).await.map(|got| match got {
                SignIn::NoSuchClient => (tried, "ResourceNotFoundException".to_owned(), true),
                SignIn::ClientTaken(why) => (tried, why, false),
            })
        }
        "foreign_user" => {
            let user = ours.names.first().filter(|_| !same_pool).ok_or("both are in one pool, or there is no user")?;
            let tried = format!("AdminGetUser of a user of {} at pool {}", a.tenant, theirs.pool);
            pool::tenant_of_user(cloud, theirs.pool, user).await.map(|found| match found {
                None => (tried, "UserNotFoundException".to_owned(), true),
                // One person may work for two customers: then it is two users, each with its own claim.
                Some(claim) => (tried, format!("a user of that name with the claim {claim:?}"), claim.as_deref() == Some(&b.tenant)),
            })
        }
        "group_members" => {
            let group = theirs.group.ok_or_else(|| format!("`{}` has no group", b.tenant))?;
            pool::tenants_in_group(cloud, theirs.pool, group).await.map(|members| {
                let strangers = members.iter().filter(|m| m.as_deref() != Some(&b.tenant)).count();
                (format!("ListUsersInGroup {group}"), format!("{} members, {strangers} with another claim", members.len()), strangers == 0)
            })
        }
        "own_claim" => {
            if ours.names.is_empty() {
                return Err(format!("`{}` has no users on record", a.tenant));
            }
            let mut wrong = Vec::new();
            for user in &ours.names {
                match pool::tenant_of_user(cloud, ours.pool, user).await {
                    Ok(Some(claim)) if claim.as_deref() == Some(&a.tenant) => {}
                    Ok(found) => wrong.push(format!("{found:?}")),
                    Err(fault) => return Ok(Err(fault)),
                }
            }
            Ok((
                format!("AdminGetUser of {} users", ours.names.len()),
                if wrong.is_empty() { "as it ought to be".to_owned() } else { wrong.join(", ") },
                wrong.is_empty(),
            ))
        }
        "claim_fixed" => pool::rules(cloud, ours.pool)
            .await
            .map(|r| (format!("the schema of pool {}", ours.pool), fixed(r.tenant_id_is_fixed).to_owned(), r.tenant_id_is_fixed)),
        "sign_up" => pool::rules(cloud, ours.pool).await.map(|r| {
            let got = if r.only_admins_create { "only administrators create users" } else { "people may sign up" };
            (format!("the settings of pool {}", ours.pool), got.to_owned(), r.only_admins_create)
        }),
        "claim_unwritable" => writers(cloud, ours.pool, TENANT_ID).await,
        _ => writers(cloud, ours.pool, "custom:tenant_tier").await,
    })
}

/// What Cognito would write into a token of A's: the issuer, which is the pool as it answers, and the groups its users are in.
async fn issuer_or_group(cloud: &Cloud, ours: &Users<'_>, theirs: &Users<'_>) -> Answer {
    if ours.pool != theirs.pool {
        let (own, other) = (pool::issuer(cloud, ours.pool).await?, pool::issuer(cloud, theirs.pool).await?);
        return Ok((format!("DescribeUserPool {} and {}", ours.pool, theirs.pool), format!("issuers {own} and {other}"), own != other));
    }
    let (Some(group), Some(other)) = (ours.group, theirs.group) else {
        return Ok((format!("groups in pool {}", ours.pool), "one pool, and not a group for each".to_owned(), false));
    };
    let (own, others) = (pool::users_in_group(cloud, ours.pool, group).await?, pool::users_in_group(cloud, theirs.pool, other).await?);
    let both = own.intersection(&others).count();
    let got = format!("one issuer; {} users in {group}, {both} of them in {other}", own.len());
    Ok((format!("ListUsersInGroup {group} and {other}"), got, group != other && both == 0))
}

fn fixed(is: bool) -> &'static str {
    if is { "immutable" } else { "missing, or mutable" }
}

async fn writers(cloud: &Cloud, pool: &str, attribute: &str) -> Answer {
    let (count, writing) = pool::clients_that_write(cloud, pool, attribute).await?;
    let got = if writing.is_empty() { format!("none of {count} clients writes it") } else { format!("written through {}", writing.join(", ")) };
    Ok((format!("WriteAttributes of the clients of pool {pool}"), got, writing.is_empty()))
}
