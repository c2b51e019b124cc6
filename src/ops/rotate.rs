//! Rotate credentials: an edit that takes each part one phase further.

use async_trait::async_trait;
use serde::Serialize;

use super::change::current;
use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use crate::plan::life::{DesiredState, Life};
use crate::plan::rotation::{Phase, Rotation};

/// A part of a tenant that logs in to its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The application: reads and writes rows.
    App,
    /// Reports and support: reads.
    ReadOnly,
    /// Migrations: makes and changes tables.
    Migrate,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::App, Self::ReadOnly, Self::Migrate];

    /// As templates name its role and its secret.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::ReadOnly => "readonly",
            Self::Migrate => "migrate",
        }
    }
}

/// Takes each of these parts to the next phase of its rotation; what is `Closed` begins another, if `begin` says so. A tenant with an
/// unfinished operation stays as it is: that operation is gone on with, so that a phase is reached before the next begins.
pub struct Rotate {
    /// Whose.
    pub tenant: String,
    /// Of what.
    pub parts: Vec<Part>,
    /// Whether to begin rotations; else those under way are finished.
    pub begin: bool,
}

impl Rotate {
    /// Whether a rotation of any of these parts was begun and not finished: its phases, or the operation of one.
    ///
    /// # Errors
    /// [`OpError::Registry`].
    pub async fn is_under_way(&self, site: &Site) -> Result<bool, OpError> {
        let unfinished = site.registry.unfinished_operation(&self.tenant).await?;
        let Some(current) = current(site, &self.tenant, unfinished).await? else { return Ok(false) };
        let ours = current.unfinished.is_some_and(|o| o.verb == Verb::Rotate.as_str());
        Ok(ours || self.under_way(&current.state.life))
    }

    /// The phase these parts have come to: the earliest of any.
    pub fn phase(&self, life: &Life) -> Option<Phase> {
        self.parts.iter().filter_map(|part| life.credentials.get(part.as_str())).map(|r| r.phase).min()
    }

    /// Whether there is more to do for a tenant that is what `life` says.
    pub fn under_way(&self, life: &Life) -> bool {
        self.parts.iter().any(|part| life.credentials.get(part.as_str()).is_some_and(|r| r.phase != Phase::Closed))
    }

    /// The phase that the next edit takes the parts to: the earliest any of them is to reach.
    pub fn next_phase(&self, life: &Life) -> Option<Phase> {
        self.parts.iter().filter_map(|part| self.next(life.credentials.get(part.as_str()).copied())).map(|r| r.phase).min()
    }

    fn next(&self, last: Option<Rotation>) -> Option<Rotation> {
        match last.map(Rotation::next) {
            Some(Some(next)) => Some(next),
            _ if self.begin => Some(Rotation::after(last)),
            _ => None,
        }
    }
}

#[async_trait]
impl Edit for Rotate {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Rotate
    }
    async fn edit(&self, _site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Err(OpError::NoSuchTenant { tenant: self.tenant.clone() }) };
        let mut state = current.state.clone();
        if current.unfinished.is_some() {
            return Ok(state);
        }
        let phase = self.next_phase(&state.life);
        for part in &self.parts {
            let rotation = &mut state.life.credentials;
            match self.next(rotation.get(part.as_str()).copied()) {
                // Parts that are behind catch up before any goes on.
                Some(next) if Some(next.phase) == phase => rotation.insert(part.as_str().to_owned(), next),
                _ => None,
            };
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(parts: &[(&str, Phase)]) -> Life {
        let rotation = |phase: &Phase| Rotation { generation: 3, phase: *phase };
        Life { credentials: parts.iter().map(|(part, phase)| ((*part).to_owned(), rotation(phase))).collect(), ..Life::default() }
    }

    #[test]
    fn a_rotation_that_is_over_is_begun_again_only_by_whoever_says_so() {
        let rotate = |begin| Rotate { tenant: "a".into(), parts: vec![Part::App], begin };
        let over = life(&[("app", Phase::Closed), ("readonly", Phase::Made)]);
        assert_eq!((rotate(true).next_phase(&over), rotate(false).next_phase(&over)), (Some(Phase::Made), None));
        assert!(!rotate(false).under_way(&over), "other parts' rotations are none of its");
        let begun = life(&[("app", Phase::Switched)]);
        assert_eq!(rotate(false).next_phase(&begun), Some(Phase::Closed));
        assert!(rotate(false).under_way(&begun));
    }

    #[test]
    fn the_part_that_is_behind_goes_first() {
        let rotate = Rotate { tenant: "a".into(), parts: Part::ALL.to_vec(), begin: false };
        let mixed = life(&[("app", Phase::Switched), ("migrate", Phase::Made)]);
        assert_eq!((rotate.phase(&mixed), rotate.next_phase(&mixed)), (Some(Phase::Made), Some(Phase::Switched)));
    }
}
