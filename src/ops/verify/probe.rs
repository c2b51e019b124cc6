//! What a probe is, and what came of it.

use serde::{Deserialize, Serialize};

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// It was tried, and refused for the reason it ought to be refused for.
    #[serde(rename = "refused")]
    Refused,
    /// It could not be tried, or failed for another reason: nothing is proved.
    #[serde(rename = "not run")]
    NotRun,
    /// It went through.
    #[serde(rename = "BREACH")]
    Breach,
}

impl Verdict {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NotRun => "not run",
            Self::Breach => "BREACH",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a probe looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// PostgreSQL.
    Database,
    /// S3, KMS, Secrets Manager, by the policies of the tenant's role.
    Storage,
    /// Cognito.
    Identity,
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Database => "database",
            Self::Storage => "storage",
            Self::Identity => "identity",
        })
    }
}

/// One probe, tried once: evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The probe's id.
    pub probe: String,
    /// Where it looks.
    pub area: Area,
    /// What an attacker would be after, in words.
    pub what: String,
    /// The statement or call.
    pub tried: String,
    /// The role or principal that tried.
    pub by: String,
    /// The neighbour it was aimed at; none for what aims at the place as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// How a wall that stands answers.
    pub expected: String,
    /// How it answered.
    pub got: String,
    /// What that means.
    pub verdict: Verdict,
}

/// A probe for which there was nothing to try: the neighbour has no such thing, or is not within reach of that sort of attempt. No pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftOut {
    /// The probe's id.
    pub probe: String,
    /// The neighbour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Why.
    pub why: String,
}

/// What cannot be hidden from a neighbour, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Visible {
    /// What it sees.
    pub what: &'static str,
    /// Why that is so, and what helps.
    pub why: &'static str,
}

/// What is visible by design. None of it is a probe, because a probe of it could not pass.
pub const VISIBLE: &[Visible] = &[
    Visible {
        what: "names of schemas, tables, columns, functions and constraints, and the source of functions and views, in a shared database",
        why: "PostgreSQL's catalogs are readable for everybody who can connect; names are made of ids, and migrations hold no data. Isolation `database` or above hides them",
    },
    Visible {
        what: "rough sizes and counts of a neighbour's tables",
        why: "pg_class, pg_relation_size and pg_stat_all_tables are readable for everybody in the database",
    },
    Visible {
        what: "names of databases and roles of a shared server, their comments and settings, who is connected, and the application_name each session gave itself",
        why: "pg_database, pg_roles and pg_stat_activity (without texts of queries and addresses) are shared by the server. Isolation `instance` or above hides them",
    },
    Visible {
        what: "of a table that tenants share: its name, how many rows it has in all, and roughly how many of them are a given tenant's or have a given common value",
        why: "pg_class counts rows of the table as a whole, and EXPLAIN estimates from the statistics of all rows, whosever they are. The rows, and pg_stats, row security hides. Isolation `schema` or above has tables of its own",
    },
    Visible {
        what: "NOTIFY messages and advisory locks of the same database",
        why: "channels and lock numbers have no owner and no privileges: an application must put nothing secret into a message, and take no advisory lock for a wall",
    },
    Visible {
        what: "which relations of the same database are locked, and by which process",
        why: "pg_locks is readable for everybody; it holds numbers and no rows",
    },
];

/// What one run found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Every probe that was tried, or ought to have been.
    pub findings: Vec<Finding>,
    /// Those there was nothing to try for.
    pub left_out: Vec<LeftOut>,
}

impl Findings {
    /// How many of them came to this.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|f| f.verdict == verdict).count()
    }

    /// The worst of all verdicts. Nothing tried is nothing proved.
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|f| f.verdict).max().unwrap_or(Verdict::NotRun)
    }

    /// With those of another.
    pub fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.left_out.extend(other.left_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_tried_is_nothing_proved_and_the_worst_verdict_counts() {
        assert_eq!(Findings::default().verdict(), Verdict::NotRun);
        assert!(Verdict::Breach > Verdict::NotRun && Verdict::NotRun > Verdict::Refused);
    }
}
