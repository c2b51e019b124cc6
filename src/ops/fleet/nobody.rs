//! A filter that chooses nobody: a tier mistyped must not look like a fleet that is done. It is refused, with what there is instead.

use std::collections::BTreeSet;

use super::refused;
use crate::ops::{OpError, Site};
use crate::registry::fleet::{FleetChoice, FleetFilter};
use crate::spec::problem::{closest, did_you_mean, listed};

/// So many of what there is are named.
const FEW: usize = 10;

/// What a tenant has of something, where it has any.
type Has<'f> = Box<dyn Fn(&FleetChoice) -> Option<&str> + 'f>;

/// One of a filter's conditions.
struct Condition<'f> {
    /// As it was asked for.
    flag: String,
    /// What was asked for.
    word: &'f str,
    /// What there is of that.
    of: String,
    /// What a tenant has of that.
    has: Has<'f>,
    /// Whether this chooses a tenant that has it.
    takes: fn(&str, &str) -> bool,
}

fn conditions(filter: &FleetFilter) -> Vec<Condition<'_>> {
    let same = |asked: &str, has: &str| asked == has;
    let mut all = Vec::new();
    if let Some(word) = &filter.stack {
        all.push(Condition { flag: format!("--stack {word}"), word, of: "stacks".into(), has: Box::new(|c| Some(&c.stack)), takes: same });
    }
    if let Some(word) = &filter.tier {
        all.push(Condition { flag: format!("--tier {word}"), word, of: "tiers".into(), has: Box::new(|c| Some(&c.tier)), takes: same });
    }
    if let Some(word) = &filter.host {
        let takes = |asked: &str, has: &str| asked == has || has.split(':').next() == Some(asked);
        all.push(Condition { flag: format!("--host {word}"), word, of: "database hosts".into(), has: Box::new(|c| Some(&c.endpoint)), takes });
    }
    for (key, word) in &filter.tags {
        all.push(Condition {
            flag: format!("--tag {key}={word}"),
            word,
            of: format!("values of the tag `{key}`"),
            has: Box::new(move |c| c.tags.get(key).map(String::as_str)),
            takes: same,
        });
    }
    all
}

/// Of a filter that chooses none of these: why, and what there is instead.
fn words(filter: &FleetFilter, fleet: &[FleetChoice]) -> (String, String) {
    let conditions = conditions(filter);
    let flags: Vec<String> = conditions.iter().map(|c| format!("`{}`", c.flag)).collect();
    let together = if flags.len() > 1 { " together" } else { "" };
    let why = format!("no tenant with a schema is chosen by {}{together}", flags.join(" "));
    if fleet.is_empty() {
        return (why, "there are none: `labctl tenant create` makes the first".to_owned());
    }
    let takes = |c: &Condition<'_>| fleet.iter().filter(|t| (c.has)(t).is_some_and(|has| (c.takes)(c.word, has))).count();
    let alone: Vec<String> = conditions.iter().filter(|c| takes(c) == 0).map(|c| instead(c, fleet)).collect();
    if alone.is_empty() {
        let each: Vec<String> = conditions.iter().map(|c| format!("`{}` alone chooses {}", c.flag, takes(c))).collect();
        return (why, each.join(", "));
    }
    (why, alone.join("; "))
}

/// What there is of something of which there is not what was asked for.
fn instead(condition: &Condition<'_>, fleet: &[FleetChoice]) -> String {
    let there: BTreeSet<&str> = fleet.iter().filter_map(|t| (condition.has)(t)).filter(|has| !has.is_empty()).collect();
    let few: Vec<&str> = match closest(condition.word, there.iter().copied()) {
        // Of many hosts the one that was meant is told first.
        Some(best) => std::iter::once(best).chain(there.iter().copied().filter(|t| *t != best)).take(FEW).collect(),
        None => there.iter().copied().take(FEW).collect(),
    };
    let more = if there.len() > few.len() { format!(" and {} more", there.len() - few.len()) } else { String::new() };
    format!("{} there are: {}{more}", condition.of, listed(few))
}

/// Whether nobody being chosen for a schema is no mistake: because all are asked for, or one by its name, or because those chosen have rows in
/// shared tables.
///
/// # Errors
/// [`OpError::Fleet`] when it is one; those of reaching the registry.
pub(super) async fn allowed(site: &Site, filter: &FleetFilter) -> Result<(), OpError> {
    if filter.tenant.is_some() || conditions(filter).is_empty() || !site.registry.rows_places(filter).await?.is_empty() {
        return Ok(());
    }
    let fleet = site.registry.fleet_choices().await?;
    if let Some(stack) = &filter.stack
        && site.stacks.get(stack).is_none()
        && !fleet.iter().any(|t| t.stack == *stack)
    {
        return Err(refused(true, "no_such_stack", format!("there is no stack `{stack}`"), did_you_mean(stack, site.stacks.names())));
    }
    let (why, hint) = words(filter, &fleet);
    Err(refused(false, "nobody_chosen", why, hint))
}

/// Of one tenant asked for by its name that has no schema on record: why.
pub(super) async fn on_record(site: &Site, tenant: &str) -> OpError {
    match site.registry.find_tenant(tenant).await {
        Err(e) => e.into(),
        Ok(None) => OpError::NoSuchTenant { tenant: tenant.to_owned() },
        Ok(Some(found)) => refused(
            false,
            "no_schema",
            format!("tenant `{tenant}` ({}) has no schema on record that could be migrated", found.status),
            if found.isolation == "rows" {
                format!("its tables are those of all tenants there: `labctl fleet migrate --stack {}` moves them", found.stack)
            } else {
                format!("`labctl tenant apply {tenant}` makes what is missing, at the newest version")
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(tier: &str, host: &str, ring: Option<&str>) -> FleetChoice {
        let tags = ring.map(|r| ("ring".to_owned(), r.to_owned())).into_iter().collect();
        FleetChoice { tenant: "x".into(), stack: "mate".into(), tier: tier.into(), endpoint: format!("{host}:5432"), tags }
    }

    fn filter(tier: Option<&str>, host: Option<&str>, tag: Option<(&str, &str)>) -> FleetFilter {
        let own = |text: Option<&str>| text.map(ToOwned::to_owned);
        let tags = tag.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
        FleetFilter { tier: own(tier), host: own(host), tags, ..FleetFilter::default() }
    }

    #[test]
    fn whoever_chooses_nobody_is_told_what_there_is() {
        let fleet = [tenant("trial", "one", Some("outer")), tenant("standard", "two", None)];
        let told = |tier, host, tag| words(&filter(tier, host, tag), &fleet);
        let (why, hint) = told(Some("enterprise"), None, None);
        assert_eq!(why, "no tenant with a schema is chosen by `--tier enterprise`");
        assert_eq!(hint, "tiers there are: `standard`, `trial`");
        assert_eq!(told(None, Some("tow:5432"), None).1, "database hosts there are: `two:5432`, `one:5432`", "the one meant comes first");
        assert_eq!(told(None, None, Some(("ring", "inner"))).1, "values of the tag `ring` there are: `outer`");
        assert_eq!(told(None, None, Some(("rings", "outer"))).1, "values of the tag `rings` there are: nothing, there are none");
        let (why, hint) = told(Some("standard"), Some("one"), None);
        assert_eq!(why, "no tenant with a schema is chosen by `--tier standard` `--host one` together");
        assert_eq!(hint, "`--tier standard` alone chooses 1, `--host one` alone chooses 1");
        let (_, hint) = words(&filter(Some("trial"), None, None), &[]);
        assert!(hint.starts_with("there are none"), "{hint}");
    }

    #[test]
    fn of_many_only_a_few_are_named() {
        let fleet: Vec<FleetChoice> = (0..30).map(|n| tenant("trial", &format!("host{n:02}"), None)).collect();
        let hint = words(&filter(None, Some("elsewhere"), None), &fleet).1;
        assert!(hint.contains("`host09:5432` and 20 more") && !hint.contains("host10"), "{hint}");
    }
}
