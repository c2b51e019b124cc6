//! Who is where: the registry says which schemas there are, and each database's central ledger, with one query, how far they are. Where it is
//! asked for, each schema's own ledger is read too, and has the last word.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::target::{Place, StackTarget, Target};
use super::{Options, nobody, refused};
use crate::engine::fault::Fault;
use crate::ops::error::outside;
use crate::ops::{OpError, Site};
use crate::registry::fleet::FleetMember;
use crate::tenantdb::Host;
use crate::tenantdb::migrations::Step;
use crate::tenantdb::migrations::central::{self, Standing, standing};
use crate::tenantdb::migrations::ledger::To;
use crate::tenantdb::migrations::own;

/// By stack: its target.
pub type Targets = BTreeMap<String, StackTarget>;

/// One tenant of the fleet.
#[derive(Debug, Clone)]
pub struct Ship {
    /// As the registry has it.
    pub member: Arc<FleetMember>,
    /// Where it is to get.
    pub target: Arc<Target>,
    /// Where it is.
    pub place: Place,
    /// Its version in words.
    pub version: String,
    /// What it has applied, where that is known from a ledger.
    pub believed: Option<Arc<[Step]>>,
    /// Whether the central ledger is known to say something else than the schema's own.
    pub adrift: bool,
}

impl Ship {
    /// Whether there is anything to do: in its schema, in the central ledger, or in the registry, which may have missed what became of it.
    pub fn has_something_to_do(&self) -> bool {
        self.place != Place::There || self.adrift || self.member.version.as_deref() != Some(self.version.as_str())
    }
}

/// Chooses tenants, and looks how far each is.
///
/// # Errors
/// [`OpError::Registry`]; [`OpError::Outside`] when a database cannot be asked; a version that is not there; a filter that chooses nobody.
pub async fn choose(site: &Site, options: &Options, to: &To) -> Result<(Vec<Ship>, Targets), OpError> {
    let members = site.registry.fleet_members(&options.filter).await?;
    if members.is_empty() {
        nobody::allowed(site, &options.filter).await?;
    }
    let mut names: Vec<&str> = members.iter().map(|m| m.stack.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if !to.is_empty() && names.len() > 1 {
        let hint = format!("add `--stack` with one of {}", names.join(", "));
        return Err(refused(true, "many_stacks", "a version means something in one stack only, and the tenants chosen are of several".to_owned(), hint));
    }
    let mut targets = Targets::new();
    for name in names {
        targets.insert(name.to_owned(), StackTarget::of(known(site, name)?, to)?);
    }
    let ships = look(site, members, &targets, options.look).await?;
    Ok((ships, targets))
}

fn known<'s>(site: &'s Site, name: &str) -> Result<&'s crate::stack::Stack, OpError> {
    site.stacks.get(name).ok_or_else(|| {
        let hint = "name the folder of its templates in labctl.toml, or leave its tenants out".to_owned();
        refused(false, "no_such_stack", format!("there are tenants of the stack `{name}`, which is not among the templates"), hint)
    })
}

/// How far a schema is, and what the central ledger of its database says of that.
struct Found {
    standing: Option<Standing>,
    adrift: bool,
}

/// Looks how far each of these is: with `own`, by the schemas' own ledgers.
///
/// # Errors
/// [`OpError::Outside`] when a database cannot be asked.
pub async fn look(site: &Site, members: Vec<FleetMember>, targets: &Targets, own: bool) -> Result<Vec<Ship>, OpError> {
    let mut databases: BTreeMap<(&str, &str, &str), Vec<&str>> = BTreeMap::new();
    for m in members.iter().filter(|m| m.ready) {
        databases.entry((&m.endpoint, &m.database, &m.admin_secret_arn)).or_default().push(&m.schema);
    }
    let mut standings: HashMap<(String, String), BTreeMap<String, Found>> = HashMap::new();
    for ((endpoint, database, arn), schemas) in databases {
        let host = Host { endpoint: endpoint.to_owned(), admin_secret_arn: arn.to_owned() };
        let asked = async {
            let mut db = site.cx.admin(&host, database).await?;
            let central = central::read(&mut db, &schemas).await?;
            let by_central = |(schema, standing)| (schema, Found { standing: Some(standing), adrift: false });
            if !own {
                return Ok(central.into_iter().map(by_central).collect());
            }
            let mut theirs = own::read(&mut db, &schemas).await?;
            let by_both = |schema: &&str| {
                let (own, said) = (theirs.remove(*schema).map(|ledger| standing(&ledger.applied)), central.get(*schema));
                let adrift = own.as_ref().is_some_and(|own| own != said.unwrap_or(&Standing::new()));
                ((*schema).to_owned(), Found { standing: own, adrift })
            };
            Ok::<BTreeMap<_, _>, Fault>(schemas.iter().map(by_both).collect())
        };
        let found = asked.await.map_err(outside(format!("ask the database `{database}` on {endpoint} which schema is at which version")))?;
        standings.insert((endpoint.to_owned(), database.to_owned()), found);
    }
    let mut shared: HashMap<(String, Vec<String>), Arc<Target>> = HashMap::new();
    let nowhere = Standing::new();
    let mut ships = Vec::with_capacity(members.len());
    for member in members {
        let Some(of_stack) = targets.get(&member.stack) else { continue };
        let target = shared.entry((member.stack.clone(), member.modules.clone())).or_insert_with(|| Arc::new(of_stack.with_modules(&member.modules))).clone();
        let known = standings.get(&(member.endpoint.clone(), member.database.clone())).and_then(|d| d.get(&member.schema));
        let (found, adrift) = known.map_or((None, false), |k| (k.standing.as_ref(), k.adrift));
        let place = match found {
            _ if !member.ready => Place::Elsewhere,
            None if !target.steps.is_empty() => Place::Elsewhere,
            found => target.place(found.unwrap_or(&nowhere)),
        };
        let version = found.map_or_else(|| member.version.clone().unwrap_or_else(|| "unknown".to_owned()), |f| target.words(f));
        let believed = found.filter(|_| place == Place::Behind).map(|found| target.applied(found));
        ships.push(Ship { member: Arc::new(member), target, place, version, believed, adrift });
    }
    Ok(ships)
}

/// Targets as a run keeps them.
pub fn on_record(targets: &Targets) -> Value {
    serde_json::to_value(targets).unwrap_or_default()
}

/// The server a tenant's schema is on.
pub fn host(member: &FleetMember) -> Host {
    Host { endpoint: member.endpoint.clone(), admin_secret_arn: member.admin_secret_arn.clone() }
}
