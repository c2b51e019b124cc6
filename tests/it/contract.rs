//! The contract of a kind, held against every entry of [`KINDS`]: to be on the list is to be tried. What a kind needs for that is its
//! fixture in [`fixtures`]; a kind without one fails.

#[path = "contract/cut.rs"]
mod cut;
#[path = "contract/fixtures.rs"]
mod fixtures;
#[path = "contract/lost.rs"]
mod lost;
#[path = "contract/stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use labctl::cloud::tags::owned;
use labctl::engine::fault::{Class, Left};
use labctl::engine::kind::{Diff, Identity, Observed, find};
use labctl::kinds::KINDS;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::faults::Fault;
use fixtures::{Fixture, Says, fresh};
use lost::{LOST, revision, unknown};
use stage::{Stage, Subject};

/// What a second create comes to, with nothing known of the first. That no create is called again before a look is the engine's part; that no
/// reply makes the SDK call it again is tried here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twice {
    /// One thing, as it was: names are unique, or the call is a transaction that finds what is there.
    Same,
    /// Two things, since names are not unique. A look tells both, so that the run stops; either can go and leave the other.
    Two,
    /// Two things, of which a look tells only while neither has its alias: then the one that has it is the one, as it was.
    Hidden,
    /// The next revision of one thing, with what the first had in it.
    Revision,
}

fn twice(kind: &str) -> Twice {
    match kind {
        "ecs_task_definition" => Twice::Revision,
        // Found by name, which Cognito lets two clients of a pool have.
        "cognito_user_pool_client" => Twice::Two,
        "kms_key" => Twice::Hidden,
        _ if find(KINDS, kind).unwrap().identity() == Identity::Tag => Twice::Two,
        _ => Twice::Same,
    }
}

/// Trials at once: more would only wait for each other.
const AT_ONCE: usize = 4;

/// One kind on its stage.
struct Trial {
    kind: &'static str,
    stage: Stage,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_on_the_list_keeps_the_contract() {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let trial = |kind| {
        let turns = turns.clone();
        tokio::spawn(async move {
            let _turn = turns.acquire_owned().await.unwrap();
            keeps_it(kind).await;
        })
    };
    let all: Vec<_> = KINDS.iter().map(|kind| (kind.name(), trial(kind.name()))).collect();
    let mut broken = Vec::new();
    for (kind, trial) in all {
        if let Err(e) = trial.await {
            let words = e.try_into_panic().ok().and_then(|p| p.downcast::<String>().ok()).map_or_else(|| "panicked".to_owned(), |text| *text);
            broken.push(format!("{kind}: {words}"));
        }
    }
    assert!(broken.is_empty(), "{} of {} kinds do not keep the contract:\n{}", broken.len(), KINDS.len(), broken.join("\n"));
}

async fn keeps_it(kind: &'static str) {
    let trial = Trial { kind, stage: Stage::of(kind).await };
    let fixture = trial.fresh().await;
    let create = trial.comes_to_be(&fixture).await;
    trial.is_foreign_to_others(&fixture).await;
    tokio::join!(trial.looks_tell_nothing_they_do_not_know(&fixture), trial.a_look_without_an_answer_is_unknown(&fixture));
    trial.changes_and_goes(&fixture).await;
    match create {
        Some(call) => trial.lost_replies_are_found_again(&call).await,
        None => trial.a_cut_wire_leaves_nothing_that_is_nobodys().await,
    }
}

impl Trial {
    async fn fresh(&self) -> Fixture {
        fresh(self.kind, &self.stage).await.unwrap_or_else(|| panic!("there is no fixture for it in tests/it/contract/fixtures.rs"))
    }

    /// Absent at first; made by one call that says whose it is, and nothing asked after that; then as wanted. The call that made it.
    async fn comes_to_be(&self, fixture: &Fixture) -> Option<String> {
        let (stage, subject) = (&self.stage, &fixture.subject);
        subject.kind.check(&subject.spec).unwrap();
        assert_eq!(subject.look(stage).await, Observed::Absent, "at first");
        let faults = stage.faults();
        let id = subject.create(&stage.cx).await.unwrap();
        assert!(!id.is_empty());
        let writes = faults.writes();
        let call = match &fixture.says {
            Says::Transaction => {
                assert!(writes.is_empty(), "{writes:?}");
                None
            }
            says => {
                assert_eq!(writes.len(), 1, "create is one call: {:?}", writes.iter().map(|w| &w.call).collect::<Vec<_>>());
                let whose = match says {
                    Says::Words(text) | Says::Within(text) => text.clone(),
                    _ => subject.address.to_string(),
                };
                assert!(writes[0].said.contains(&whose), "{} does not say {whose}: {}", writes[0].call, writes[0].said);
                assert_eq!(faults.heard().last().map(|h| &h.call), Some(&writes[0].call), "create asks something after its effect: it waits");
                Some(writes[0].call.clone())
            }
        };
        assert_eq!(subject.mine(stage).await.0, id, "found without a record");
        let (settled, state) = subject.settle(stage).await;
        assert_eq!(settled, id);
        let outputs: BTreeSet<_> = subject.kind.outputs(&subject.target(), &id, &state).unwrap().into_keys().collect();
        assert_eq!(outputs, subject.kind.outputs_declared().iter().map(|name| (*name).to_owned()).collect());
        self.is_made_twice(subject, id, state).await;
        call
    }

    /// Called again with nothing known of the first.
    async fn is_made_twice(&self, subject: &Subject, id: String, state: Value) {
        let stage = &self.stage;
        let again = subject.create(&stage.cx).await;
        match (twice(self.kind), again) {
            (Twice::Same, again) => {
                if let Err(fault) = again {
                    assert_eq!(fault.class, Class::Unknown, "a second create: whose it is, is for the next look to say: {fault}");
                }
                assert_eq!(subject.mine(stage).await, (id, state), "after a second create");
            }
            (Twice::Two, again) => {
                let second = again.unwrap();
                assert_ne!(second, id);
                let Observed::Many(ids) = subject.look(stage).await else { panic!("two are there, and a look does not tell both") };
                assert_eq!(BTreeSet::from_iter(ids), BTreeSet::from([id.clone(), second.clone()]));
                subject.delete(stage, &second).await.unwrap();
                assert_eq!(subject.mine(stage).await, (id, state), "the other is as it was");
            }
            (Twice::Hidden, again) => {
                let second = again.unwrap();
                assert_ne!(second, id);
                assert_eq!(subject.mine(stage).await, (id.clone(), state.clone()), "after a second create");
                subject.delete(stage, &second).await.unwrap();
                assert_eq!(subject.mine(stage).await, (id, state), "the other is as it was");
                let nameless = self.fresh().await.subject;
                let two = BTreeSet::from([nameless.create(&stage.cx).await.unwrap(), nameless.create(&stage.cx).await.unwrap()]);
                let Observed::Many(ids) = nameless.look(stage).await else { panic!("two are there, and a look does not tell both") };
                assert!(two.len() == 2 && BTreeSet::from_iter(ids) == two, "not {two:?}");
            }
            (Twice::Revision, again) => {
                let (next, looks) = (again.unwrap(), subject.mine(stage).await);
                assert!(next != id && looks.0 == next, "{} is not the newest revision, {next}", looks.0);
                assert_eq!(revision(&next), revision(&id) + 1);
                assert_eq!(subject.kind.diff(&subject.target(), &looks.1).unwrap(), Diff::Same);
            }
        }
    }

    async fn is_foreign_to_others(&self, fixture: &Fixture) {
        let (stage, subject) = (&self.stage, &fixture.subject);
        let before = subject.mine(stage).await;
        let spec = fixture.theirs.clone().unwrap_or_else(|| subject.spec.clone());
        let stranger = Subject::new("somebody-else", self.kind, "main", spec);
        let neighbour = Subject { tags: owned(&subject.address, "registry-2"), ..subject.clone() };
        let mut others = vec![stranger];
        // Words name the tenant and no registry: there is nothing that another registry's tenant of the same id could be told by.
        if !matches!(fixture.says, Says::Words(_)) {
            others.push(neighbour);
        }
        for other in others {
            let found = other.look(stage).await;
            let who = format!("{} of {:?}", other.address, other.tags.get("labctl:registry"));
            assert!(matches!(found, Observed::Foreign(_)), "to {who} it is {found:?}");
            let faults = stage.faults();
            match (twice(self.kind), &fixture.says) {
                // In what is not theirs they can make nothing.
                (_, Says::Within(_)) => {
                    let told = other.create(&stage.cx).await.unwrap_err();
                    assert!(told.class == Class::Refused && faults.writes().is_empty(), "{who}: {told:?} after {:?}", faults.writes());
                }
                // Their own, of the same name: each sees one of the two.
                (Twice::Two, _) => {
                    let theirs = other.create(&stage.cx).await.unwrap();
                    assert_eq!(other.mine(stage).await.0, theirs, "{who}");
                    assert_eq!(subject.mine(stage).await, before, "{who} has one of the name");
                    other.delete(stage, &theirs).await.unwrap();
                }
                // Theirs too, but the alias is not.
                (Twice::Hidden, _) => {
                    let theirs = other.create(&stage.cx).await.unwrap();
                    assert!(matches!(other.look(stage).await, Observed::Foreign(_)), "{who}");
                    other.delete(stage, &theirs).await.unwrap();
                }
                (Twice::Same, _) => drop(other.create(&stage.cx).await),
                // A family takes anybody's revisions: only a look keeps them out of it, and to the owner theirs is not his.
                (Twice::Revision, _) => {
                    let theirs = other.create(&stage.cx).await.unwrap();
                    let found = subject.look(stage).await;
                    assert!(matches!(found, Observed::Foreign(_)), "with a revision of {who} it is {found:?}");
                    other.delete(stage, &theirs).await.unwrap();
                }
            }
            assert_eq!(subject.mine(stage).await, before, "{who} took it over");
        }
    }

    /// Where one of its calls fails, a look fails: it reports neither "absent" nor anything else.
    async fn looks_tell_nothing_they_do_not_know(&self, fixture: &Fixture) {
        let (stage, subject) = (&self.stage, &fixture.subject);
        let absent = self.fresh().await.subject;
        for (subject, there) in [(subject, true), (&absent, false)] {
            let faults = stage.faults();
            let found = subject.look_through(stage, faults, None).await.unwrap();
            assert_eq!(matches!(found, Observed::Mine { .. }), there, "{found:?}");
            let calls: BTreeSet<String> = faults.heard().into_iter().map(|h| h.call).collect();
            assert!(!calls.is_empty());
            let rows = [
                (Fault::Throttle, Some(Class::Busy)),
                (Fault::ErrorBefore, Some(Class::Unknown)),
                (Fault::Malformed, None),
                (Fault::Refusal("AccessDeniedException"), Some(Class::Refused)),
            ];
            for (call, (fault, class)) in calls.iter().flat_map(|call| rows.map(|row| (call, row))) {
                // An answer to HEAD has no body that could be spoilt.
                if fault == Fault::Malformed && call.contains(":Head") {
                    continue;
                }
                let faults = stage.faults();
                faults.always(call, fault);
                let told = subject.look_through(stage, faults, None).await;
                assert!(!faults.struck().is_empty(), "{call} was not called");
                let Err(told) = told else { panic!("{call} with {fault:?}, and a look says {told:?}") };
                assert!(class.is_none_or(|class| told.class == class), "{call} with {fault:?}: {told:?}");
            }
        }
    }

    /// A look that gets no answer, however often it asks, does not know: it neither finds nor misses anything. The SDK asks up to five times in some
    /// seconds, so each is asked beside the others.
    async fn a_look_without_an_answer_is_unknown(&self, fixture: &Fixture) {
        let (stage, subject) = (&self.stage, &fixture.subject);
        let (faults, cx) = stage.beside().await;
        subject.kind.observe(&cx.read_only(), &subject.target(), None).await.unwrap();
        let calls: BTreeSet<String> = faults.heard().into_iter().map(|h| h.call).collect();
        assert!(!calls.is_empty());
        let one = |call: String, fault: Fault| async move {
            let (faults, cx) = stage.beside().await;
            faults.always(&call, fault);
            let told = subject.kind.observe(&cx.read_only(), &subject.target(), None).await;
            assert!(!faults.struck().is_empty(), "{call} was not called");
            let Err(told) = told else { panic!("{call} with {fault:?}, and a look says {told:?}") };
            assert_eq!(told.class, Class::Unknown, "{call} with {fault:?}: {told:?}");
        };
        join_all(calls.into_iter().flat_map(|call| [one(call.clone(), Fault::Timeout), one(call, Fault::Reset)])).await;
    }

    /// Changed, twice; deleted, twice. Then the same with faults in the calls that do it.
    async fn changes_and_goes(&self, fixture: &Fixture) {
        let (stage, subject) = (&self.stage, fixture.subject.wants(fixture.changed.clone()));
        let (id, state) = subject.mine(stage).await;
        let diff = subject.kind.diff(&subject.target(), &state).unwrap();
        assert!(matches!(diff, Diff::Update(_)), "{diff:?}");
        let faults = stage.faults();
        subject.update(stage, &id, &state).await.unwrap();
        let updating: Vec<String> = faults.writes().into_iter().map(|h| h.call).collect();
        let (updated, state) = subject.mine(stage).await;
        let at_once = subject.kind.diff(&subject.target(), &state).unwrap() == Diff::Same;
        let (settled, state) = subject.settle(stage).await;
        // An update of a task definition is its next revision.
        assert!(settled == id || (twice(self.kind) == Twice::Revision && settled == updated), "{settled} was {id}");
        let id = settled;
        assert_eq!(subject.settle(stage).await, (id.clone(), state), "again");
        let faults = stage.faults();
        subject.delete(stage, &id).await.unwrap();
        let deleting: Vec<String> = faults.writes().into_iter().map(|h| h.call).collect();
        assert_eq!(subject.look(stage).await, Observed::Absent, "deleted");
        subject.delete(stage, &id).await.unwrap_or_else(|e| panic!("deleting what is absent: {e}"));
        assert_eq!(subject.look(stage).await, Observed::Absent);

        let through_aws = !matches!(fixture.says, Says::Transaction);
        assert_eq!((!updating.is_empty(), !deleting.is_empty()), (through_aws, through_aws), "{updating:?} and {deleting:?}");
        if !through_aws {
            self.a_cut_wire_leaves_an_update_that_can_be_gone_on_with().await;
            self.a_cut_wire_leaves_a_delete_that_can_be_gone_on_with().await;
            return;
        }
        self.updates_under_faults(&updating, at_once).await;
        self.deletes_under_faults(&deleting).await;
    }

    /// The create is done and nobody hears of it: its outcome is unknown, it was called once, and the next look finds it. Refused,
    /// throttled or failed before the effect, it has made nothing.
    async fn lost_replies_are_found_again(&self, call: &str) {
        let stage = &self.stage;
        for fault in LOST {
            let subject = self.fresh().await.subject;
            let faults = stage.faults();
            faults.plan(call, 1, 1, fault);
            let made = subject.create(&stage.cx).await;
            assert_eq!(faults.struck().len(), 1);
            match made {
                Err(told) => unknown(&told, call, fault),
                // An empty answer cannot be spoilt.
                Ok(_) => assert_eq!(fault, Fault::Malformed),
            }
            assert_eq!(faults.writes().len(), 1, "{call} with {fault:?} is called again");
            let (id, _) = subject.mine(stage).await;
            stage.faults();
            let (settled, _) = subject.settle(stage).await;
            assert_eq!(settled, id, "{call} with {fault:?}");
        }
        let subject = self.fresh().await.subject;
        let rows = [
            (Fault::Throttle, Class::Busy),
            (Fault::Refusal("LimitExceededException"), Class::Refused),
            (Fault::Refusal("AccessDeniedException"), Class::Refused),
            (Fault::ErrorBefore, Class::Unknown),
        ];
        for (fault, class) in rows {
            let faults = stage.faults();
            faults.always(call, fault);
            let told = subject.create(&stage.cx).await.unwrap_err();
            assert_eq!((told.class, told.left == Left::Nothing), (class, class != Class::Unknown), "{call} with {fault:?}: {told:?}");
            assert_eq!(faults.writes().len(), 1, "{call} with {fault:?} is called again");
            assert_eq!(subject.look(stage).await, Observed::Absent, "{call} with {fault:?}");
            if fault == Fault::Refusal("LimitExceededException") {
                assert!(told.hint.as_ref().is_some_and(|hint| hint.contains("quota of")), "{told:?}");
            }
        }
    }
}
