//! Isolation in Cognito: a token of one tenant's must not be valid for another. Its issuer (the pool) differs, or its group claim does, and
//! nobody can write the claim that says whose he is.

use super::probe::{Area, Finding, Findings, LeftOut, Verdict};
use super::subject::Subject;
use crate::cloud::Cloud;
use crate::cloud::pool::{self, SignIn, TENANT_ID};
use crate::engine::fault::Fault;

/// A tenant's users: where they are, and by what they are known.
struct Users<'a> {
    pool: &'a str,
    group: Option<&'a str>,
    client: Option<&'a str>,
    names: Vec<&'a str>,
}

fn users(s: &Subject) -> Option<Users<'_>> {
    let pool = s.text("cognito_group", "pool_id").or_else(|| s.text("cognito_user", "pool_id")).or_else(|| s.text("cognito_user_pool_client", "pool_id"))?;
    let last = |id: &'_ Option<String>| id.as_deref().and_then(|i| i.rsplit_once('/')).is_some();
    let client = s.things.iter().find(|t| t.address.kind == "cognito_user_pool_client" && last(&t.id));
    let client = client.and_then(|t| t.id.as_deref()).and_then(|i| i.rsplit_once('/')).map(|(_, id)| id);
    let names = s.things.iter().filter(|t| t.address.kind == "cognito_user").filter_map(|t| t.spec["email"].as_str()).collect();
    Some(Users { pool, group: s.text("cognito_group", "name"), client, names })
}

/// A probe: what it is after, and what must be so.
struct Probe {
    id: &'static str,
    what: &'static str,
    expected: &'static str,
}

/// How each probe is made, in the order of the list below.
const PROBES: &[Probe] = &[
    Probe { id: "issuer_or_group", what: "have a token that is the neighbour's too", expected: "another pool, or another group" },
    Probe { id: "foreign_client", what: "sign in through the neighbour's client", expected: "ResourceNotFoundException" },
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
    let (Some(ours), Some(theirs)) = (users(a), users(b)) else {
        let why = format!("`{}` or `{}` has no users in Cognito", a.tenant, b.tenant);
        all.left_out.extend(PROBES.iter().map(|p| LeftOut { probe: p.id.to_owned(), against: Some(b.tenant.clone()), why: why.clone() }));
        return all;
    };
    for probe in PROBES {
        match answer(probe.id, cloud, (a, &ours), (b, &theirs)).await {
            Err(why) => all.left_out.push(LeftOut { probe: probe.id.to_owned(), against: Some(b.tenant.clone()), why }),
            Ok(answer) => {
                let (tried, got, verdict) = match answer {
                    Ok((tried, got, stands)) => (tried, got, if stands { Verdict::Refused } else { Verdict::Breach }),
                    Err(fault) => (fault.call.clone(), fault.to_string(), Verdict::NotRun),
                };
                all.findings.push(Finding {
                    probe: probe.id.to_owned(),
                    area: Area::Identity,
                    what: probe.what.to_owned(),
                    tried,
                    by: format!("users of {}", a.tenant),
                    against: Some(b.tenant.clone()),
                    expected: probe.expected.to_owned(),
                    got,
                    verdict,
                });
            }
        }
    }
    all
}

/// # Errors
/// Why there is nothing to try.
async fn answer(id: &str, cloud: &Cloud, (a, ours): (&Subject, &Users<'_>), (b, theirs): (&Subject, &Users<'_>)) -> Result<Answer, String> {
    let same_pool = ours.pool == theirs.pool;
    Ok(match id {
        "issuer_or_group" => {
            let apart = !same_pool || ours.group.is_some() && ours.group != theirs.group;
            let of = |u: &Users<'_>| format!("pool {} group {}", u.pool, u.group.unwrap_or("(none)"));
            Ok(("pool and group on record".to_owned(), format!("{} and {}", of(ours), of(theirs)), apart))
        }
        "foreign_client" => {
            let client = theirs.client.filter(|_| !same_pool).ok_or_else(|| format!("`{}` has no client of its own", b.tenant))?;
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

fn fixed(is: bool) -> &'static str {
    if is { "immutable" } else { "missing, or mutable" }
}

async fn writers(cloud: &Cloud, pool: &str, attribute: &str) -> Answer {
    let (count, writing) = pool::clients_that_write(cloud, pool, attribute).await?;
    let got = if writing.is_empty() { format!("none of {count} clients writes it") } else { format!("written through {}", writing.join(", ")) };
    Ok((format!("WriteAttributes of the clients of pool {pool}"), got, writing.is_empty()))
}
