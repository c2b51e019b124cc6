//! Places where a test ends the process as `kill -9` would: every boundary between an effect and its record.
//!
//! A place is marked `failpoint!("name")`, or `failpoint!("name", detail)` where the detail says which of many it is. Without the feature
//! `failpoints`, which only tests switch on (`docs/decisions/0017`), the mark is nothing at all. With it, and with `LABCTL_FAILPOINT` unset,
//! it is one look at a cell.
//!
//! `LABCTL_FAILPOINT=name[#n]=kill|stop` ends the process (`SIGKILL`) or halts it (`SIGSTOP`) the n-th time it comes there.
//! `LABCTL_FAILPOINT_LOG` names a file to which a line is added when it strikes, as proof; without `LABCTL_FAILPOINT`, a line for each place
//! reached, so that a test learns what there is to strike.

/// Every place, and what has just happened there. `tests/it/house.rs` holds the list and the marks against each other.
pub const ALL: &[(&str, &str)] = &[
    ("lease.taken", "a tenant's lease is taken, nothing else is done"),
    ("lease.released", "a tenant's lease is let go of"),
    ("verb.planned", "the plan is made and seen; nothing is on record"),
    ("verb.begun", "revision, operation and steps are on record, nothing is done"),
    ("verb.ran", "every step has ended; the operation is still running on record"),
    ("verb.undo_planned", "a run has failed, and what is to be undone is known"),
    ("verb.proven", "a purge has found nothing left; the certificate is not issued"),
    ("verb.names_released", "names no longer needed are free; the operation is still running on record"),
    ("verb.finished", "the end of the operation is on record; the lease is still held"),
    ("journal.before_entry", "an entry of the journal is about to be written"),
    ("journal.entry_written", "an entry of the journal is committed"),
    ("step.before_create", "the intent is on record, the create is about to be called"),
    ("step.created", "a create has answered; its id is not on record"),
    ("step.before_update", "an update is about to be called"),
    ("step.updated", "an update has answered"),
    ("step.before_delete", "a delete is about to be called"),
    ("step.deleted", "a delete has answered; it is not on record"),
    ("registry.before_commit", "a transaction of the registry is about to be committed"),
    ("registry.committed", "a transaction of the registry is committed"),
    ("aws.before_call", "a request that changes something is about to be sent to AWS"),
    ("aws.called", "AWS has answered a request that changes something"),
    ("sql.before_statement", "a statement that changes something is about to be sent to a tenant's database host"),
    ("sql.done", "a tenant's database host has answered a statement that changes something"),
    ("migration.before_commit", "migrations, ledger and central ledger are written, not committed"),
    ("migration.committed", "migrations, ledger and central ledger are committed"),
    ("migration.index_made", "an index is made concurrently, and not on the ledger"),
    ("migration.index_recorded", "an index made concurrently is on the ledger"),
    ("rotate.phase_done", "a phase of a rotation is finished, the next one not begun"),
    ("events.claimed", "events are claimed for delivery"),
    ("events.sent", "a receiver has taken events; that is not on record"),
    ("events.recorded", "a delivery is on record"),
    ("fleet.begun", "a fleet run is on record"),
    ("fleet.claimed", "the lease of a fleet run is taken"),
    ("fleet.leases_taken", "leases of many tenants are taken"),
    ("fleet.before_migrate", "a tenant's schema is about to be migrated"),
    ("fleet.migrated", "a tenant's schema is migrated; that is not on record"),
    ("fleet.recorded", "results of tenants are on record, their leases let go of"),
    ("fleet.wave_done", "a wave is over"),
    ("fleet.ended", "the end of a fleet run is on record"),
];

/// Marks a place of [`ALL`].
macro_rules! failpoint {
    ($name:literal) => {
        failpoint!($name, "")
    };
    ($name:literal, $detail:expr) => {{
        #[cfg(feature = "failpoints")]
        {
            const { assert!($crate::failpoint::is_listed($name), "the place is not on the list") };
            $crate::failpoint::reach($name, &$detail);
        }
    }};
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, is_listed, reach};

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::BTreeMap;
    use std::fmt::Display;
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::path::Path;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use nix::sys::signal::{Signal, raise};

    use super::ALL;

    /// What is to happen where.
    struct Strike {
        name: &'static str,
        nth: u64,
        signal: Signal,
    }

    struct Armed {
        strike: Option<Strike>,
        log: Option<File>,
        reached: Mutex<BTreeMap<&'static str, u64>>,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Whether there is a place of that name.
    pub const fn is_listed(name: &str) -> bool {
        let (mut at, name) = (0, name.as_bytes());
        while at < ALL.len() {
            let listed = ALL[at].0.as_bytes();
            let mut same = listed.len() == name.len();
            let mut n = 0;
            while same && n < name.len() {
                same = listed[n] == name[n];
                n += 1;
            }
            if same {
                return true;
            }
            at += 1;
        }
        false
    }

    /// Arms the process, once, from the two variables.
    ///
    /// # Errors
    /// Why that cannot be: there is no such place or no such word, or the file cannot be opened.
    pub fn arm(strike: Option<&str>, log: Option<&Path>) -> Result<(), String> {
        if strike.is_none() && log.is_none() {
            return Ok(());
        }
        let strike = strike.map(parse).transpose()?;
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path).map_err(|e| format!("{}: {e}", path.display()));
        let _ = ARMED.set(Armed { strike, log: log.map(open).transpose()?, reached: Mutex::default() });
        Ok(())
    }

    fn parse(text: &str) -> Result<Strike, String> {
        let (place, how) = text.split_once('=').ok_or_else(|| format!("`{text}` is not name[#n]=kill|stop"))?;
        let (name, nth) = place.split_once('#').unwrap_or((place, "1"));
        let name = ALL.iter().map(|(name, _)| *name).find(|n| *n == name).ok_or_else(|| format!("there is no failpoint `{name}`"))?;
        let nth = nth.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{nth}` is not a number from 1 on"))?;
        let signal = match how {
            "kill" => Signal::SIGKILL,
            "stop" => Signal::SIGSTOP,
            _ => return Err(format!("`{how}` is not kill or stop")),
        };
        Ok(Strike { name, nth, signal })
    }

    /// Counts that the place was reached, and strikes if it is the one.
    pub fn reach(name: &'static str, detail: &dyn Display) {
        let Some(armed) = ARMED.get() else { return };
        let detail = detail.to_string();
        if reads(name, &detail) {
            return;
        }
        // Held while it strikes: no other place is passed meanwhile.
        let mut reached = armed.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let n = reached.entry(name).or_default();
        *n += 1;
        let strikes = armed.strike.as_ref().filter(|s| s.name == name && s.nth == *n);
        if let Some(mut log) = armed.log.as_ref().filter(|_| strikes.is_some() || armed.strike.is_none()) {
            let _ = log.write_all(format!("{name}#{n} {detail}\n").as_bytes());
        }
        if let Some(strike) = strikes {
            let _ = raise(strike.signal);
        }
    }

    /// Whether a call changes nothing: no place to strike at.
    fn reads(name: &str, call: &str) -> bool {
        let verb = call.split_once(':').map_or("", |(_, verb)| verb.trim_start_matches("Admin"));
        match name.split_once('.') {
            Some(("aws", _)) => ["Describe", "List", "Get", "Head"].iter().any(|read| verb.starts_with(read)),
            Some(("sql", _)) => ["BEGIN", "ROLLBACK", "SET", "RESET", "pg_", "labctl_"].iter().any(|read| verb.starts_with(read)),
            _ => false,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_misspelt_is_refused() {
            for wrong in ["step.create=kill", "step.created", "step.created#0=kill", "step.created=abort", "step.created#x=kill"] {
                assert!(parse(wrong).is_err(), "{wrong}");
            }
            let strike = parse("step.created#3=stop").ok().unwrap();
            assert_eq!((strike.name, strike.nth, strike.signal), ("step.created", 3, Signal::SIGSTOP));
            assert_eq!(parse("lease.taken=kill").ok().unwrap().nth, 1);
        }

        #[test]
        fn only_what_changes_something_is_a_place() {
            for (name, call, is) in [
                ("aws.called", "s3:GetBucketTagging", true),
                ("aws.called", "cognito-identity-provider:AdminGetUser", true),
                ("aws.called", "s3:CreateBucket", false),
                ("sql.done", "postgres:BEGIN", true),
                ("sql.done", "postgres:migrate", false),
                ("step.created", "", false),
            ] {
                assert_eq!(reads(name, call), is, "{name} {call}");
            }
        }
    }
}
