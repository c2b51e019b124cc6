//! The contract of a kind, held against every entry of [`KINDS`]: to be on the list is to be tried. What a kind needs for that is its
//! fixture in [`fixtures`]; a kind without one fails.

#[path = "contract/cut.rs"]
mod cut;
#[path = "contract/fixtures.rs"]
mod fixtures;
#[path = "contract/stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::sync::Arc;

use labctl::cloud::tags::owned;
use labctl::engine::fault::{Class, Fault as Failed, Left};
use labctl::engine::kind::{Diff, Identity, Observed, find};
use labctl::kinds::KINDS;
use tokio::sync::Semaphore;

use crate::faults::Fault;
use cut::Wire;
use fixtures::{Fixture, Says, fresh};
use stage::{Stage, Subject};

/// Names need not be unique, or each create is a revision of its own: called again, the create makes another. That no create is called
/// again before a look is the engine's part; that no reply makes the SDK call it again is tried here.
fn makes_another(kind: &str) -> bool {
    find(KINDS, kind).unwrap().identity() == Identity::Tag || ["cognito_user_pool_client", "ecs_task_definition"].contains(&kind)
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
    trial.looks_tell_nothing_they_do_not_know(&fixture).await;
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
                    Says::Words(text) => text.clone(),
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
        if !makes_another(self.kind) {
            // Called again with nothing known of the first: no second thing, and the first as it was.
            if let Err(fault) = subject.create(&stage.cx).await {
                assert_eq!(fault.class, Class::Unknown, "a second create: whose it is, is for the next look to say: {fault}");
            }
            assert_eq!(subject.mine(stage).await, (id, state), "after a second create");
        }
        call
    }

    async fn is_foreign_to_others(&self, fixture: &Fixture) {
        let (stage, subject) = (&self.stage, &fixture.subject);
        let before = subject.mine(stage).await;
        let spec = fixture.theirs.clone().unwrap_or_else(|| subject.spec.clone());
        let stranger = Subject::new("somebody-else", self.kind, "main", spec);
        let neighbour = Subject { tags: owned(&subject.address, "registry-2"), ..subject.clone() };
        let mut others = vec![stranger];
        if !matches!(fixture.says, Says::Words(_)) {
            others.push(neighbour);
        }
        for other in others {
            let found = other.look(stage).await;
            assert!(matches!(found, Observed::Foreign(_)), "to {} of {:?} it is {found:?}", other.address, other.tags.get("labctl:registry"));
            if !makes_another(self.kind) {
                let _ = other.create(&stage.cx).await;
            }
        }
        assert_eq!(subject.mine(stage).await, before, "nobody took it over");
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
                assert!(faults.struck() > 0, "{call} was not called");
                let Err(told) = told else { panic!("{call} with {fault:?}, and a look says {told:?}") };
                assert!(class.is_none_or(|class| told.class == class), "{call} with {fault:?}: {told:?}");
            }
        }
    }

    /// Changed, twice; deleted, twice. Then the same with faults in the calls that do it.
    async fn changes_and_goes(&self, fixture: &Fixture) {
        let (stage, subject) = (&self.stage, fixture.subject.wants(fixture.changed.clone()));
        let (id, state) = subject.mine(stage).await;
        let diff = subject.kind.diff(&subject.target(), &state).unwrap();
        assert!(matches!(diff, Diff::Update(_)), "{diff:?}");
        let faults = stage.faults();
        subject.update(stage, &id, &state).await.unwrap();
        let updating = faults.writes().first().map(|h| h.call.clone());
        let (settled, state) = subject.settle(stage).await;
        // An update of a task definition is its next revision.
        assert!(settled == id || self.kind == "ecs_task_definition", "{settled} was {id}");
        let id = settled;
        assert_eq!(subject.settle(stage).await, (id.clone(), state), "again");
        let faults = stage.faults();
        subject.delete(stage, &id).await.unwrap();
        let deleting = faults.writes().first().map(|h| h.call.clone());
        assert_eq!(subject.look(stage).await, Observed::Absent, "deleted");
        subject.delete(stage, &id).await.unwrap_or_else(|e| panic!("deleting what is absent: {e}"));
        assert_eq!(subject.look(stage).await, Observed::Absent);

        let fixture = self.fresh().await;
        let (id, state) = fixture.subject.settle(stage).await;
        let subject = fixture.subject.wants(fixture.changed);
        if let Some(call) = updating {
            for (fault, class) in [(Fault::Throttle, Class::Busy), (Fault::Refusal("LimitExceededException"), Class::Refused)] {
                stage.faults().always(&call, fault);
                let told = subject.update(stage, &id, &state).await.unwrap_err();
                assert_eq!(told.class, class, "{call} with {fault:?}: {told:?}");
            }
        }
        if let Some(call) = deleting {
            stage.faults().always(&call, Fault::Throttle);
            assert_eq!(subject.delete(stage, &id).await.unwrap_err().class, Class::Busy, "{call} throttled");
            subject.mine(stage).await;
            stage.faults().plan(&call, 1, 1, Fault::ErrorAfter);
            if let Err(told) = subject.delete(stage, &id).await {
                assert_eq!(told.class, Class::Unknown, "{call} done, and answered by an error: {told:?}");
            }
            stage.faults();
            subject.delete(stage, &id).await.unwrap_or_else(|e| panic!("{call} done before: {e}"));
            assert_eq!(subject.look(stage).await, Observed::Absent);
        }
    }

    /// The create is done and nobody hears of it: its outcome is unknown, it was called once, and the next look finds it. Refused,
    /// throttled or failed before the effect, it has made nothing.
    async fn lost_replies_are_found_again(&self, call: &str) {
        let stage = &self.stage;
        for fault in [Fault::Timeout, Fault::Reset, Fault::ErrorAfter, Fault::Malformed] {
            let subject = self.fresh().await.subject;
            let faults = stage.faults();
            faults.plan(call, 1, 1, fault);
            let made = subject.create(&stage.cx).await;
            assert_eq!(faults.struck(), 1);
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

    /// The connection to PostgreSQL is cut after each of the messages of a create: what is there afterwards is this tenant's, or nothing
    /// is, and a create goes on from there.
    async fn a_cut_wire_leaves_nothing_that_is_nobodys(&self) {
        let stage = &self.stage;
        let port = crate::world::world().port();
        for heard in [true, false] {
            let mut subject = self.fresh().await.subject;
            for nth in 1.. {
                assert!(nth < 200, "it never comes to its end");
                let wire = Wire::to(port, nth, heard).await;
                let made = subject.create(&stage.behind(wire.port).await).await;
                if !wire.was_cut() {
                    made.unwrap();
                    break;
                }
                match (subject.look(stage).await, made) {
                    (Observed::Absent, Err(_)) => {}
                    (Observed::Mine { .. }, Err(told)) => {
                        assert_eq!(told.class, Class::Unknown, "it is there: {told:?}");
                        subject.settle(stage).await;
                        subject = self.fresh().await.subject;
                    }
                    // Cut while it said goodbye.
                    (Observed::Mine { .. }, Ok(_)) => subject = self.fresh().await.subject,
                    (found, made) => panic!("cut at message {nth}: {found:?} after {made:?}"),
                }
            }
        }
    }
}

fn unknown(told: &Failed, call: &str, fault: Fault) {
    assert!(told.class == Class::Unknown && told.left != Left::Nothing, "{call} with {fault:?}: {told:?}");
}
