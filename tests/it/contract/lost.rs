//! Updates and deletes whose replies are lost, or whose connection is cut.

use std::collections::BTreeSet;
use std::ops::Range;

use labctl::engine::fault::{Class, Fault as Failed, Left};
use labctl::engine::kind::{Diff, Observed};
use serde_json::Value;

use super::cut::Wire;
use super::stage::Subject;
use super::{Trial, Twice, twice};
use crate::faults::Fault;

/// The call is done, and nobody hears of it.
pub(super) const LOST: [Fault; 4] = [Fault::Timeout, Fault::Reset, Fault::ErrorAfter, Fault::Malformed];

/// The number at the end of a task definition's ARN.
pub(super) fn revision(arn: &str) -> u32 {
    arn.rsplit_once(':').unwrap().1.parse().unwrap()
}

pub(super) fn unknown(told: &Failed, call: &str, fault: Fault) {
    assert!(told.class == Class::Unknown && told.left != Left::Nothing, "{call} with {fault:?}: {told:?}");
}

/// Whether the server hears the last message is one way or the other in turn, from message to message; the long version tries each both ways.
fn turns() -> Range<usize> {
    0..if std::env::var_os("LABCTL_TEST_LONG").is_some() { 2 } else { 1 }
}

impl Trial {
    /// One that is there as it was wanted, with another wish.
    pub(super) async fn about_to_change(&self) -> (Subject, String, Value) {
        let fixture = self.fresh().await;
        fixture.subject.settle(&self.stage).await;
        let subject = fixture.subject.wants(fixture.changed);
        // What a look tells may depend on what is wanted.
        let (id, state) = subject.mine(&self.stage).await;
        (subject, id, state)
    }

    /// `updating` are the calls that a healthy update makes, `at_once` whether nothing differs after it.
    pub(super) async fn updates_under_faults(&self, updating: &[String], at_once: bool) {
        let (stage, first) = (&self.stage, &updating[0]);
        let (subject, id, state) = self.about_to_change().await;
        let rows = [
            (Fault::Throttle, Class::Busy),
            (Fault::Refusal("LimitExceededException"), Class::Refused),
            (Fault::Refusal("AccessDeniedException"), Class::Refused),
        ];
        for (fault, class) in rows {
            let faults = stage.faults();
            faults.always(first, fault);
            let told = subject.update(stage, &id, &state).await.unwrap_err();
            assert_eq!(told.class, class, "{first} with {fault:?}: {told:?}");
            if class == Class::Refused {
                assert_eq!(faults.writes().len(), 1, "{first} with {fault:?} is called again");
            }
            if fault == Fault::Refusal("LimitExceededException") {
                assert!(told.hint.as_ref().is_some_and(|hint| hint.contains("quota of")), "{told:?}");
            }
            assert_eq!(subject.mine(stage).await, (id.clone(), state.clone()), "{first} with {fault:?}");
        }
        // Of a revision, a second is a second thing: the call is made once, and found by the next look.
        let once = twice(self.kind) == Twice::Revision;
        for (call, fault) in BTreeSet::from_iter(updating).into_iter().flat_map(|call| LOST.map(move |fault| (call, fault))) {
            let (subject, id, state) = self.about_to_change().await;
            let faults = stage.faults();
            faults.plan(call, 1, 1, fault);
            let done = subject.update(stage, &id, &state).await;
            assert_eq!(faults.struck().len(), 1, "{call} was not called");
            let calls = faults.writes().len();
            match &done {
                Err(told) => unknown(told, call, fault),
                // Asked again by the SDK, or an empty answer, which cannot be spoilt.
                Ok(()) => assert!(!once, "{call} with {fault:?} is called again"),
            }
            let (found, state) = subject.mine(stage).await;
            if once {
                assert_eq!((revision(&found), calls), (revision(&id) + 1, 1), "{call} with {fault:?} is called again");
            } else {
                assert_eq!(found, id, "{call} with {fault:?}");
            }
            if at_once && (updating.len() == 1 || done.is_ok()) {
                assert_eq!(subject.kind.diff(&subject.target(), &state).unwrap(), Diff::Same, "{call} with {fault:?}: it was done");
            }
            assert_eq!(subject.settle(stage).await.0, found, "{call} with {fault:?}");
            subject.delete(stage, &found).await.unwrap();
        }
    }

    pub(super) async fn deletes_under_faults(&self, deleting: &[String]) {
        let stage = &self.stage;
        let (subject, id, _) = self.about_to_change().await;
        stage.faults().always(&deleting[0], Fault::Throttle);
        assert_eq!(subject.delete(stage, &id).await.unwrap_err().class, Class::Busy, "{} throttled", deleting[0]);
        subject.mine(stage).await;
        for (call, fault) in BTreeSet::from_iter(deleting).into_iter().flat_map(|call| LOST.map(move |fault| (call, fault))) {
            let (subject, id, _) = self.about_to_change().await;
            let faults = stage.faults();
            faults.plan(call, 1, 1, fault);
            if let Err(told) = subject.delete(stage, &id).await {
                unknown(&told, call, fault);
            }
            assert_eq!(faults.struck().len(), 1, "{call} was not called");
            subject.delete(stage, &id).await.unwrap_or_else(|e| panic!("{call} done before, with {fault:?}: {e}"));
            assert_eq!(subject.look(stage).await, Observed::Absent, "{call} with {fault:?}");
        }
    }

    /// The connection to PostgreSQL is cut after each of the messages of a create: what is there afterwards is this tenant's, or nothing
    /// is, and a create goes on from there.
    pub(super) async fn a_cut_wire_leaves_nothing_that_is_nobodys(&self) {
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
    /// The same of an update: what is there afterwards is this tenant's and the same thing, and an update goes on from there.
    pub(super) async fn a_cut_wire_leaves_an_update_that_can_be_gone_on_with(&self) {
        let (stage, port) = (&self.stage, crate::world::world().port());
        for turn in turns() {
            let (mut subject, mut id, mut state) = self.about_to_change().await;
            for nth in 1.. {
                assert!(nth < 200, "it never comes to its end");
                let wire = Wire::to(port, nth, (nth + turn).is_multiple_of(2)).await;
                let cx = stage.behind(wire.port).await;
                let told = subject.kind.update(&cx, &subject.target(), &id, &state).await;
                if !wire.was_cut() {
                    told.unwrap();
                    assert!(nth > 4, "cut nowhere");
                    break;
                }
                if let Err(told) = &told {
                    assert_ne!(told.class, Class::Refused, "cut at message {nth}: {told:?}");
                }
                let found = subject.mine(stage).await;
                assert_eq!(found.0, id, "cut at message {nth}");
                let differs = subject.kind.diff(&subject.target(), &found.1).unwrap() != Diff::Same;
                assert!(told.is_err() || !differs, "cut at message {nth}: it says that it is done");
                if !differs {
                    assert_eq!(subject.settle(stage).await.0, id, "cut at message {nth}");
                    (subject, id, state) = self.about_to_change().await;
                } else {
                    state = found.1;
                }
            }
            assert_eq!(subject.settle(stage).await.0, id);
        }
    }

    /// The same of a delete: the tenant's, whole enough to be seen, or gone; and a delete goes on from there.
    pub(super) async fn a_cut_wire_leaves_a_delete_that_can_be_gone_on_with(&self) {
        let (stage, port) = (&self.stage, crate::world::world().port());
        for turn in turns() {
            let (mut subject, mut id, _) = self.about_to_change().await;
            for nth in 1.. {
                assert!(nth < 200, "it never comes to its end");
                let wire = Wire::to(port, nth, (nth + turn).is_multiple_of(2)).await;
                let cx = stage.behind(wire.port).await;
                let told = subject.kind.delete(&cx, &subject.target(), &id).await;
                if !wire.was_cut() {
                    told.unwrap();
                    assert!(nth > 4, "cut nowhere");
                    break;
                }
                match (subject.look(stage).await, told) {
                    (Observed::Mine { id: found, .. }, Err(told)) => {
                        assert_eq!(found, id, "cut at message {nth}");
                        assert_ne!(told.class, Class::Refused, "cut at message {nth}: {told:?}");
                    }
                    (Observed::Absent, told) => {
                        assert!(told.as_ref().err().is_none_or(|told| told.class == Class::Unknown), "cut at message {nth}: it is gone, and {told:?}");
                        subject.delete(stage, &id).await.unwrap_or_else(|e| panic!("cut at message {nth}: {e}"));
                        (subject, id, _) = self.about_to_change().await;
                    }
                    (found, told) => panic!("cut at message {nth}: {found:?} after {told:?}"),
                }
            }
            assert_eq!(subject.look(stage).await, Observed::Absent);
        }
    }
}
