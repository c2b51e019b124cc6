//! Rename: another display name, another subdomain, and, where that is asked for, physical names after it.

use async_trait::async_trait;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use super::survey::desired;
use crate::plan::life::DesiredState;
use crate::registry::RegistryError;
use crate::spec::rules::{DISPLAY_NAME_MAX, DNS_LABEL_MAX, Wrong, line, slug};
use crate::spec::{Invalid, Place, Problem};

/// A tenant under another name. Its id never changes.
pub struct Rename {
    /// Its id.
    pub tenant: String,
    /// What people call it; none leaves it.
    pub display_name: Option<String>,
    /// Its subdomain; none leaves it.
    pub subdomain: Option<String>,
    /// Whether what physically bears the subdomain is renamed too. Otherwise it goes on bearing the one it was made with.
    pub physical: bool,
}

#[async_trait]
impl Edit for Rename {
    fn tenant(&self) -> &str {
        &self.tenant
    }

    fn verb(&self) -> Verb {
        Verb::Rename
    }

    async fn edit(&self, site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Err(OpError::NoSuchTenant { tenant: self.tenant.clone() }) };
        let mut state = current.state.clone();
        let named_after = state.named_after().to_owned();
        if let Some(name) = &self.display_name {
            self.held("--display-name", line("the display name", name, DISPLAY_NAME_MAX))?;
            state.spec.display_name.clone_from(name);
        }
        if let Some(subdomain) = &self.subdomain {
            self.held("--subdomain", slug("the subdomain", subdomain, DNS_LABEL_MAX))?;
            state.spec.subdomain.clone_from(subdomain);
        }
        state.life.named_after = (!self.physical && named_after != state.spec.subdomain).then_some(named_after);
        // A name that is another tenant's is refused while nothing has been touched, also when the plan is only shown.
        let mut names: Vec<(String, String)> = desired(site, &state)?.names.into_iter().collect();
        names.push(("subdomain".to_owned(), state.spec.subdomain.clone()));
        match site.registry.names_taken(&self.tenant, &names).await?.into_iter().next() {
            Some(taken) => Err(RegistryError::NameTaken { kind: taken.name_kind, name: taken.name, tenant: taken.tenant }.into()),
            None => Ok(state),
        }
    }
}

impl Rename {
    fn held(&self, flag: &str, rule: Result<(), Wrong>) -> Result<(), OpError> {
        let problem = |wrong: Wrong| Problem::new("spec::value", &Place::Flag(flag.to_owned()), wrong.message).maybe_hint(wrong.hint);
        rule.map_err(|wrong| OpError::Spec { tenant: self.tenant.clone(), invalid: Invalid { errors: vec![problem(wrong)] } })
    }
}
