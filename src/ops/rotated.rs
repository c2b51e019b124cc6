//! What the rotations of a tenant's credentials make of its resources: a second login, and a secret that names the one in force.

use std::collections::BTreeMap;

use crate::kinds::rotation::{self, Duty};
use crate::plan::rotation::{Phase, Rotation, Slot};
use crate::stack::{Desired, Key, Resource};

/// Makes of a tenant's resources what the rotations of its credentials say.
pub(super) fn rotated(desired: &mut Desired, rotations: &BTreeMap<String, Rotation>) {
    for (part, rotation) in rotations {
        let Some(first) = desired.resources.iter().position(|r| r.kind == "postgres_role" && r.name == *part) else { continue };
        let spec = desired.resources[first].spec.clone();
        let named = |slot| if slot == Slot::First { rotation::name(&spec).to_owned() } else { rotation::second_name(rotation::name(&spec)) };
        for resource in &mut desired.resources {
            match resource.kind.as_str() {
                "secret" if resource.name == *part => rotation::secret(&mut resource.spec, &named(rotation.current()), rotation.phase == Phase::Made),
                "ecs_task_definition" => rotation::reader(&mut resource.spec, part, rotation.in_force()),
                _ => {}
            }
        }
        let after: Vec<Key> = desired.resources[first].after.clone();
        let name = format!("{part}_b");
        rotation::login(&mut desired.resources[first].spec, duty(*rotation, Slot::First));
        let second = rotation::second(part, &spec, duty(*rotation, Slot::Second));
        desired.names.insert(format!("role.{name}"), named(Slot::Second));
        desired.resources.insert(first + 1, Resource { kind: "postgres_role".to_owned(), name, spec: second, after });
    }
}

fn duty(rotation: Rotation, slot: Slot) -> Duty {
    match (slot == rotation.coming(), rotation.phase) {
        (true, Phase::Made) => Duty::ToCome,
        (true, _) | (false, Phase::Made) => Duty::InForce,
        (false, Phase::Switched) => Duty::OnTheWayOut,
        (false, Phase::Closed) => Duty::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_old_login_is_ever_closed() {
        for (generation, coming) in [(1, Slot::Second), (2, Slot::First)] {
            for phase in [Phase::Made, Phase::Switched, Phase::Closed] {
                let rotation = Rotation { generation, phase };
                assert_ne!(duty(rotation, rotation.current()), Duty::Closed);
                assert_eq!(duty(rotation, coming.other()) == Duty::Closed, phase == Phase::Closed);
            }
        }
    }
}
