//! How far the rotation of one part's credentials has come: which of its two logins is in force, and what becomes of the other.
//!
//! A part (`app`, `readonly`, `migrate`) logs in as one of two roles in turn. The first is the role that holds the rights; the second is a
//! member of it and acts as it. A rotation is three desired states, each reached before the next is begun:
//!
//! | phase | the login to come | the secret names | the login so far |
//! |---|---|---|---|
//! | `made` | can log in, with a password that the secret holds beside the one in force | the login so far | can log in |
//! | `switched` | can log in | the login to come | can log in, with the password it had |
//! | `closed` | can log in | the login to come | cannot log in, and has no password |
//!
//! So there is no moment at which what the secret says cannot log in. A crash leaves one of these states on record, and going on is going
//! to the next.

use serde::{Deserialize, Serialize};

/// One part's rotation. No entry is a part that was never rotated: its first login, and no second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How many rotations were begun, the one under way included.
    pub generation: u32,
    /// How far the last has come.
    pub phase: Phase,
}

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The login to come is there.
    Made,
    /// The secret names it.
    Switched,
    /// The login so far is closed: the rotation is over.
    Closed,
}

/// Which of a part's two logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The role with the rights.
    First,
    /// Its member.
    Second,
}

impl Slot {
    /// Of a generation.
    fn of(generation: u32) -> Self {
        if generation.is_multiple_of(2) { Self::First } else { Self::Second }
    }

    /// The other one.
    pub fn other(self) -> Self {
        if self == Self::First { Self::Second } else { Self::First }
    }
}

impl Rotation {
    /// The first state of the rotation after `last`.
    pub fn after(last: Option<Self>) -> Self {
        Self { generation: last.map_or(0, |r| r.generation) + 1, phase: Phase::Made }
    }

    /// The next state; `None` when it is over.
    pub fn next(self) -> Option<Self> {
        let phase = match self.phase {
            Phase::Made => Phase::Switched,
            Phase::Switched => Phase::Closed,
            Phase::Closed => return None,
        };
        Some(Self { phase, ..self })
    }

    /// The login this rotation leads to.
    pub fn coming(self) -> Slot {
        Slot::of(self.generation)
    }

    /// The generation that the secret names.
    pub fn in_force(self) -> u32 {
        if self.phase == Phase::Made { self.generation - 1 } else { self.generation }
    }

    /// The login that the secret names.
    pub fn current(self) -> Slot {
        Slot::of(self.in_force())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logins_take_turns_and_the_secret_follows_once_the_other_is_there() {
        let mut seen = Vec::new();
        let mut rotation = Rotation::after(None);
        for _ in 0..2 {
            while let Some(next) = rotation.next() {
                seen.push((rotation.generation, rotation.phase, rotation.current(), rotation.coming()));
                rotation = next;
            }
            seen.push((rotation.generation, rotation.phase, rotation.current(), rotation.coming()));
            rotation = Rotation::after(Some(rotation));
        }
        use {Phase::*, Slot::*};
        assert_eq!(
            seen,
            [
                (1, Made, First, Second),
                (1, Switched, Second, Second),
                (1, Closed, Second, Second),
                (2, Made, Second, First),
                (2, Switched, First, First),
                (2, Closed, First, First)
            ]
        );
    }
}
