//! Scale: more or fewer tasks of a service, or a database of another size, within what the tier allows.
//!
//! The numbers are kept beside the spec (`life.settings`), so that applying the file again does not undo them. A `--desired` is written
//! with the time it was asked for: where the count belongs to auto-scaling, the service takes it over once, and is then left alone.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::Utc;
use serde_json::Value;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use crate::plan::life::DesiredState;
use crate::spec::TenantSpec;
use crate::stack::overrides::{self, ASKED, Refusal};
use crate::stack::template::TierTemplate;

/// The numbers of a service that can be set.
const NUMBERS: [&str; 3] = ["min", "desired", "max"];
/// The size of a database.
const CLASS: &str = "instance_class";
/// What `deploy` sets.
pub(super) const IMAGE: &str = "image";

/// What is to be more, fewer or larger.
#[derive(Debug, Default)]
pub struct Scale {
    /// The tenant's id.
    pub tenant: String,
    /// The service whose numbers are meant.
    pub service: Option<String>,
    /// Least tasks.
    pub min: Option<i64>,
    /// Tasks now.
    pub desired: Option<i64>,
    /// Most tasks.
    pub max: Option<i64>,
    /// Class of the database's instances.
    pub instance_class: Option<String>,
    /// What the spec and the tier say counts again: for the service, or for everything where none is named.
    pub reset: bool,
}

#[async_trait]
impl Edit for Scale {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Scale
    }
    async fn edit(&self, site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Err(OpError::NoSuchTenant { tenant: self.tenant.clone() }) };
        if let Some(suspended) = &current.state.life.suspended {
            return Err(OpError::Suspended { tenant: self.tenant.clone(), level: suspended.level, reason: suspended.reason.clone(), verb: Verb::Scale });
        }
        let tier = tier(site, &current.state)?;
        let asked = Utc::now().format("%Y%m%dT%H%M%S%3fZ").to_string();
        self.applied(tier, current.state.clone(), &asked)
    }
}

impl Scale {
    /// The state with the new numbers in it.
    fn applied(&self, tier: &TierTemplate, mut state: DesiredState, asked: &str) -> Result<DesiredState, OpError> {
        let scalable = services(tier);
        if let Some(service) = self.service.as_ref().filter(|s| !scalable.contains(&s.as_str())) {
            return Err(unknown(&state, Verb::Scale, service, &scalable));
        }
        if self.reset {
            let of = |path: &str| self.service.as_ref().is_none_or(|s| path.rsplit_once('.').is_some_and(|(group, _)| group == s));
            state.life.settings.retain(|path, _| path.rsplit_once('.').is_some_and(|(_, last)| last == IMAGE) || !of(path));
            state.life.counts.retain(|service, _| self.service.as_ref().is_some_and(|s| s != service));
        }
        if let Some(class) = &self.instance_class {
            let databases = overrides::groups(tier, CLASS);
            let [database] = databases.as_slice() else {
                let why = format!("tier {} has no database whose class can be chosen", state.spec.tier);
                return Err(OpError::OutOfBounds {
                    tenant: state.spec.id,
                    verb: Verb::Scale,
                    refused: vec![Refusal { path: CLASS.to_owned(), message: why, hint: offer(tier) }],
                });
            };
            state.life.settings.insert(format!("{database}.{CLASS}"), Value::from(class.as_str()));
        }
        if let Some(service) = self.service.as_ref().filter(|_| [self.min, self.desired, self.max].iter().any(Option::is_some)) {
            self.number(tier, service, &mut state, asked);
        }
        within(tier, state, Verb::Scale)
    }

    /// Writes what was said of the service; what was not follows only as far as it must.
    fn number(&self, tier: &TierTemplate, service: &str, state: &mut DesiredState, asked: &str) {
        let path = |end: &str| format!("{service}.{end}");
        state.life.counts.remove(service);
        for (end, number) in NUMBERS.iter().zip([self.min, self.desired, self.max]) {
            if let Some(number) = number {
                state.life.settings.insert(path(end), Value::from(number));
            }
        }
        if self.desired.is_some() {
            state.life.settings.insert(path(ASKED), Value::from(asked));
            return;
        }
        let effective = state.effective().overrides;
        let now = |end: &str| effective.get(&path(end)).or_else(|| tier.settings.get(&path(end))).and_then(Value::as_i64);
        if let (Some(min), Some(desired), Some(max)) = (now("min"), now("desired"), now("max"))
            && min <= max
            && !(min..=max).contains(&desired)
        {
            state.life.settings.insert(path("desired"), Value::from(desired.clamp(min, max)));
        }
    }
}

/// The tier of that tenant's stack.
///
/// # Errors
/// [`OpError::Spec`] where these templates have no such stack or tier.
pub(super) fn tier<'s>(site: &'s Site, state: &DesiredState) -> Result<&'s TierTemplate, OpError> {
    let found = site.stacks.get(&state.spec.stack).and_then(|stack| stack.tiers.get(&state.spec.tier));
    match found {
        Some(tier) => Ok(tier),
        // Says what is missing, as for every verb.
        None => Err(super::survey::desired(site, state).err().unwrap_or_else(|| OpError::Bug(format!("tier {} is not there", state.spec.tier)))),
    }
}

/// The services whose numbers the tier lets be changed.
fn services(tier: &TierTemplate) -> Vec<&str> {
    overrides::groups(tier, "desired")
}

/// The state, if its settings keep the tier's bounds.
pub(super) fn within(tier: &TierTemplate, state: DesiredState, verb: Verb) -> Result<DesiredState, OpError> {
    match overrides::apply(tier, &state.effective().overrides) {
        Ok(_) => Ok(state),
        Err(refused) => Err(OpError::OutOfBounds { tenant: state.spec.id, verb, refused }),
    }
}

/// That service cannot be scaled or deployed.
pub(super) fn unknown(state: &DesiredState, verb: Verb, service: &str, known: &[&str]) -> OpError {
    OpError::NoSuchService {
        tenant: state.spec.id.clone(),
        tier: state.spec.tier.to_string(),
        verb,
        service: service.to_owned(),
        known: known.iter().map(|s| (*s).to_owned()).collect(),
    }
}

/// What of a tier can be scaled, in words.
fn offer(tier: &TierTemplate) -> String {
    match services(tier) {
        none if none.is_empty() => "nothing of this tier can be scaled".to_owned(),
        some => format!("what can be scaled: {}", some.join(", ")),
    }
}

/// An override of a spec that another value hides, which `scale` or `deploy` has set.
#[derive(Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its path.
    pub path: String,
    /// As the spec says.
    pub said: String,
    /// As it is.
    pub holds: String,
}

/// The overrides of a spec that have no effect, because a verb has set something else.
pub fn hidden(spec: &TenantSpec, settings: &BTreeMap<String, Value>) -> Vec<Hidden> {
    let plain = |v: &Value| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned);
    let over = |(path, said): (&String, &Value)| {
        let holds = settings.get(path).filter(|holds| *holds != said)?;
        Some(Hidden { path: path.clone(), said: plain(said), holds: plain(holds) })
    };
    spec.overrides.iter().filter_map(over).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::Tier;
    use crate::stack::Stacks;

    fn state(tier: &str, life: Value) -> DesiredState {
        let spec = json!({"id": "acme", "display_name": "Acme", "subdomain": "acme", "tier": tier, "stack": "mate", "email": "a@acme.example",
            "overrides": {"log_retention_days": 365}});
        DesiredState { spec: serde_json::from_value(spec).unwrap(), life: serde_json::from_value(life).unwrap() }
    }

    fn scaled(tier: Tier, life: Value, scale: &Scale) -> Result<Value, OpError> {
        let stacks = Stacks::builtin().unwrap();
        let state = state(tier.as_str(), life);
        scale.applied(&stacks.get("mate").unwrap().tiers[&tier], state, "T").map(|s| serde_json::to_value(s.life).unwrap())
    }

    fn django(min: Option<i64>, desired: Option<i64>, max: Option<i64>) -> Scale {
        Scale { service: Some("django".into()), min, desired, max, ..Scale::default() }
    }

    #[test]
    fn what_is_said_is_set_and_what_is_not_said_follows_as_far_as_it_must() {
        let rows = [
            (json!({}), django(Some(3), Some(4), Some(5)), json!({"django.min": 3, "django.desired": 4, "django.max": 5, "django.asked": "T"})),
            (json!({}), django(None, Some(4), None), json!({"django.desired": 4, "django.asked": "T"})),
            (json!({}), django(Some(3), None, None), json!({"django.min": 3, "django.desired": 3})),
            (json!({}), django(None, None, Some(3)), json!({"django.max": 3})),
            (json!({"settings": {"django.desired": 5}}), django(None, None, Some(3)), json!({"django.max": 3, "django.desired": 3})),
            (json!({"counts": {"django": 4}}), django(None, None, Some(3)), json!({"django.max": 3})),
        ];
        for (life, scale, settings) in rows {
            assert_eq!(scaled(Tier::Standard, life.clone(), &scale).unwrap(), json!({"settings": settings}), "{life} {scale:?}");
        }
        let counts = scaled(Tier::Standard, json!({"counts": {"django": 4, "celery": 2}}), &django(None, Some(2), None)).unwrap();
        assert_eq!(counts["counts"], json!({"celery": 2}), "the count of another service is remembered");
    }

    #[test]
    fn what_the_tier_does_not_allow_is_refused_with_its_bounds() {
        let large = |class: &str| Scale { instance_class: Some(class.into()), ..Scale::default() };
        let rows = [
            (Tier::Standard, django(None, None, Some(8)), "the override `django.max` is 8, out of bounds / allowed here: 1 to 5"),
            (
                Tier::Standard,
                large("db.x9"),
                "the override `rds.instance_class` is \"db.x9\", out of bounds / allowed here: one of db.t4g.medium, db.t4g.large, db.m7g.large",
            ),
            (
                Tier::Standard,
                django(Some(4), None, Some(2)),
                "`django` would have min 4, desired 1, max 2: these must not cross / override the others too: django.min, django.desired, django.max",
            ),
            (Tier::Trial, large("db.t4g.large"), "tier trial has no database whose class can be chosen / nothing of this tier can be scaled"),
        ];
        for (tier, scale, expected) in rows {
            let Err(OpError::OutOfBounds { refused, .. }) = scaled(tier, json!({}), &scale) else { panic!("{scale:?}") };
            assert_eq!(refused.iter().map(|r| format!("{} / {}", r.message, r.hint)).collect::<Vec<_>>(), [expected]);
        }
        for (tier, known) in [(Tier::Standard, vec!["celery", "django"]), (Tier::Trial, vec![])] {
            let beat = Scale { service: Some("beat".into()), max: Some(2), ..Scale::default() };
            let Err(OpError::NoSuchService { known: said, .. }) = scaled(tier, json!({}), &beat) else { panic!("{tier}") };
            assert_eq!(said, known);
        }
    }

    #[test]
    fn a_reset_gives_back_what_scale_has_set_and_leaves_images() {
        let life = json!({"settings": {"django.max": 4, "django.asked": "S", "django.image": "x:1", "celery.max": 4, "rds.instance_class": "db.m7g.large"},
            "counts": {"django": 2, "celery": 2}});
        let one = scaled(Tier::Standard, life.clone(), &Scale { reset: true, ..django(None, None, None) }).unwrap();
        assert_eq!(one, json!({"settings": {"django.image": "x:1", "celery.max": 4, "rds.instance_class": "db.m7g.large"}, "counts": {"celery": 2}}));
        let all = scaled(Tier::Standard, life, &Scale { reset: true, ..Scale::default() }).unwrap();
        assert_eq!(all, json!({"settings": {"django.image": "x:1"}}));
    }

    #[test]
    fn an_override_is_hidden_where_a_verb_has_set_something_else() {
        let spec = state("standard", json!({})).spec;
        let settings = |days: i64| BTreeMap::from([("log_retention_days".to_owned(), json!(days)), ("django.max".to_owned(), json!(3))]);
        assert_eq!(hidden(&spec, &settings(365)), []);
        assert_eq!(hidden(&spec, &settings(90)), [Hidden { path: "log_retention_days".into(), said: "365".into(), holds: "90".into() }]);
    }
}
