//! Deploy: another image for a tenant's services. The image is kept beside the spec (`life.settings`); the task definition and the
//! rollout follow from it.
//!
//! A suspended tenant can be deployed to: its task definitions change and its services stay at none, so the new image starts with the
//! resume.

use async_trait::async_trait;
use serde_json::Value;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::scale::{IMAGE, tier, unknown, within};
use super::site::Site;
use crate::plan::life::DesiredState;
use crate::stack::overrides;
use crate::stack::template::TierTemplate;

/// Which services run what.
#[derive(Debug)]
pub struct Deploy {
    /// The tenant's id.
    pub tenant: String,
    /// The service; all of them where none is named.
    pub service: Option<String>,
    /// The image, with its tag or digest; none is what the spec and the tier say.
    pub image: Option<String>,
}

#[async_trait]
impl Edit for Deploy {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Deploy
    }
    async fn edit(&self, site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Err(OpError::NoSuchTenant { tenant: self.tenant.clone() }) };
        self.applied(tier(site, &current.state)?, current.state.clone())
    }
}

impl Deploy {
    fn applied(&self, tier: &TierTemplate, mut state: DesiredState) -> Result<DesiredState, OpError> {
        let deployable = overrides::groups(tier, IMAGE);
        let services = match &self.service {
            Some(service) if deployable.contains(&service.as_str()) => vec![service.as_str()],
            Some(service) => return Err(unknown(&state, Verb::Deploy, service, &deployable)),
            None if deployable.is_empty() => return Err(unknown(&state, Verb::Deploy, "*", &deployable)),
            None => deployable,
        };
        for service in services {
            let path = format!("{service}.{IMAGE}");
            match &self.image {
                Some(image) => state.life.settings.insert(path, Value::from(image.as_str())),
                None => state.life.settings.remove(&path),
            };
        }
        within(tier, state, Verb::Deploy)
    }
}

/// Whether the image is named by what it contains. A tag can come to mean another image behind everybody's back.
pub fn is_pinned(image: &str) -> bool {
    image.contains("@sha256:")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::Tier;
    use crate::stack::Stacks;

    fn deployed(stack: &str, service: Option<&str>, image: Option<&str>) -> Result<Value, OpError> {
        let spec = json!({"id": "acme", "display_name": "Acme", "subdomain": "acme", "tier": "trial", "stack": stack, "email": "a@acme.example"});
        let life = json!({"settings": if stack == "mate" { json!({"beat.image": "mate:1"}) } else { json!({}) }});
        let state = DesiredState { spec: serde_json::from_value(spec).unwrap(), life: serde_json::from_value(life).unwrap() };
        let stacks = Stacks::builtin().unwrap();
        let deploy = Deploy { tenant: "acme".into(), service: service.map(Into::into), image: image.map(Into::into) };
        deploy.applied(&stacks.get(stack).unwrap().tiers[&Tier::Trial], state).map(|s| json!(s.life.settings))
    }

    #[test]
    fn an_image_is_set_for_one_service_or_for_all_and_taken_back() {
        assert_eq!(deployed("mate", Some("django"), Some("mate:2")).unwrap(), json!({"beat.image": "mate:1", "django.image": "mate:2"}));
        assert_eq!(deployed("mate", None, Some("mate:2")).unwrap(), json!({"beat.image": "mate:2", "celery.image": "mate:2", "django.image": "mate:2"}));
        assert_eq!(deployed("mate", Some("beat"), None).unwrap(), json!({}));
    }

    #[test]
    fn a_service_that_is_not_there_and_an_image_that_is_none_are_refused() {
        let Err(OpError::NoSuchService { known, .. }) = deployed("mate", Some("web"), Some("mate:2")) else { panic!() };
        assert_eq!(known, ["beat", "celery", "django"]);
        assert!(matches!(deployed("labcloud", None, Some("mate:2")), Err(OpError::NoSuchService { .. })), "labcloud runs nothing");
        let Err(OpError::OutOfBounds { refused, .. }) = deployed("mate", Some("django"), Some("mate")) else { panic!() };
        assert_eq!(refused[0].message, "the override `django.image` is \"mate\": without a tag or digest");
    }
}
