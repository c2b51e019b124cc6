//! How a fleet is cut into waves, and how many may fail: pure arithmetic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much of the fleet is done after each wave, in percent, rising to 100. Nothing said is one wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waves(Vec<u8>);

impl Default for Waves {
    fn default() -> Self {
        Self(vec![100])
    }
}

impl FromStr for Waves {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = |part: &str| part.trim().strip_suffix('%').and_then(|n| n.parse::<u8>().ok()).filter(|n| (1..=100).contains(n));
        let parts: Option<Vec<u8>> = text.split(',').map(percent).collect();
        let parts = parts.ok_or_else(|| format!("`{text}` is no list of percentages: say `5%,25%,100%`"))?;
        if !parts.is_sorted_by(|a, b| a < b) || parts.last() != Some(&100) {
            return Err(format!("`{text}`: each wave says how much is done after it, so the numbers rise, and the last is 100%"));
        }
        Ok(Self(parts))
    }
}

/// How many may fail before a run stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// So many.
    Count(usize),
    /// So much of all that have something to do, in percent, rounded down.
    Percent(u8),
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = match text.strip_suffix('%') {
            Some(n) => n.parse::<u8>().ok().filter(|n| *n <= 100).map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        };
        read.ok_or_else(|| format!("`{text}` is neither a number nor a percentage: say `2` or `1%`"))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Percent(n) => write!(f, "{n}%"),
        }
    }
}

impl Budget {
    /// How many of `all` may fail.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(n) => n,
            Self::Percent(n) => all * usize::from(n) / 100,
        }
    }
}

/// The wave of each of `all` tenants, in their order: 0 for the first `canary`, then 1, 2, … A wave that would be empty is left out.
pub fn assign(all: usize, canary: usize, waves: &Waves) -> Vec<u32> {
    let mut assigned = vec![0; canary.min(all)];
    let mut wave = 0;
    for percent in &waves.0 {
        let until = (all * usize::from(*percent)).div_ceil(100);
        if until > assigned.len() {
            wave += 1;
            assigned.resize(until, wave);
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(all: usize, canary: usize, waves: &str) -> Vec<usize> {
        let assigned = assign(all, canary, &waves.parse().unwrap());
        assert_eq!(assigned.len(), all);
        assert!(assigned.is_sorted());
        (0..=assigned.last().copied().unwrap_or(0)).map(|w| assigned.iter().filter(|a| **a == w).count()).collect()
    }

    #[test]
    fn each_wave_brings_the_fleet_to_its_percentage() {
        assert_eq!(sizes(300, 0, "5%,25%,100%"), [0, 15, 60, 225]);
        assert_eq!(sizes(300, 4, "5%,25%,100%"), [4, 11, 60, 225]);
        assert_eq!(sizes(10, 0, "100%"), [0, 10]);
    }

    #[test]
    fn small_fleets_leave_waves_out_and_nobody_behind() {
        assert_eq!(sizes(1, 0, "5%,25%,100%"), [0, 1]);
        assert_eq!(sizes(3, 1, "5%,50%,100%"), [1, 1, 1]);
        assert_eq!(sizes(2, 5, "100%"), [2], "the canary is all there is");
        assert_eq!(sizes(0, 1, "100%"), [0]);
    }

    #[test]
    fn waves_that_do_not_rise_to_a_hundred_are_refused() {
        for bad in ["", "5", "5%,5%,100%", "25%,5%,100%", "5%,25%", "0%,100%", "101%", "5%,100%,"] {
            bad.parse::<Waves>().unwrap_err();
        }
    }

    #[test]
    fn a_budget_is_a_number_or_a_part_rounded_down() {
        assert_eq!("2".parse::<Budget>().unwrap().of(300), 2);
        assert_eq!("1%".parse::<Budget>().unwrap().of(300), 3);
        assert_eq!("1%".parse::<Budget>().unwrap().of(99), 0);
        for bad in ["", "-1", "1.5%", "101%", "x"] {
            bad.parse::<Budget>().unwrap_err();
        }
    }
}
