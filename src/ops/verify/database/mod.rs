//! Isolation in PostgreSQL: every role of a tenant's logs in with the password its application has, and tries. Who must try is known from the
//! place ([`Place::posts`](super::subject::Place::posts)), not from who could log in: what nobody was there to try is not run.
//!
//! * [`probes`]: the list.
//! * [`Names`]: what the list's `{…}` mean for two tenants, or why one means nothing.
//! * [`look`] and [`Attacker`]: logging in; [`Attacker::attack`]: trying everything, in one round trip per role where that can be.

mod names;
pub mod probes;
pub mod rows;

pub use names::{Names, Why};

use super::probe::{Area, Finding, Findings, LeftOut, Verdict};
use super::subject::{Place, Subject};
use crate::engine::fault::{Class, Fault};
use crate::kinds::Cx;
use crate::tenantdb::quote::Ident;
use crate::tenantdb::targets::{self, Targets};
use crate::tenantdb::{Connection, Login, MAINTENANCE, Outcome};
use probes::PROBES;
use rows::ROWS;

/// What a probe needs to make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Nothing of a neighbour.
    Place,
    /// A neighbour on the same server.
    Roles,
    /// A neighbour in the same database.
    Schema,
    /// A neighbour in the same tables.
    Rows,
    /// A neighbour in another database.
    Apart,
}

/// How a probe is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In a transaction that is rolled back.
    Statement,
    /// The same, and a row is a breach too.
    Rows,
    /// Outside of transactions.
    Alone,
    /// As `COPY … TO STDOUT` or `COPY … FROM STDIN`.
    Copy,
    /// As `COPY … TO STDOUT`, of which something coming out is the breach.
    CopyRows,
    /// By logging in.
    Login(To),
}

/// Where to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The database every server has.
    Maintenance,
    /// labctl's own.
    Registry,
    /// The neighbour's.
    Neighbour,
    /// Its own database, under the neighbour's name.
    AsNeighbour,
}

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Every role that can log in.
    All,
    /// The migration role.
    Maker,
    /// The application's role: what it proves does not differ by role.
    Application,
}

/// A probe.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Unique among all probes.
    pub id: &'static str,
    /// What an attacker would be after.
    pub what: &'static str,
    /// What is tried, with `{…}` for names.
    pub sql: &'static str,
    /// What it needs.
    pub about: About,
    /// How it is tried.
    pub way: Way,
    /// Who tries.
    pub who: Who,
    /// SQLSTATEs of a refusal.
    pub refused: &'static [&'static str],
    /// Beginnings of SQLSTATEs that come only when it was not refused.
    pub passed: &'static [&'static str],
}

impl Probe {
    /// What an outcome proves.
    pub fn judge(&self, outcome: &Outcome) -> Verdict {
        match outcome {
            Outcome::Done(0) if matches!(self.way, Way::Rows | Way::CopyRows) => Verdict::Refused,
            Outcome::Done(_) => Verdict::Breach,
            Outcome::Failed { code, .. } if self.refused.contains(&code.as_str()) => Verdict::Refused,
            Outcome::Failed { code, .. } if self.passed.iter().any(|p| code.starts_with(p)) => Verdict::Breach,
            Outcome::Failed { .. } => Verdict::NotRun,
        }
    }

    /// The answer of a wall that stands, in words.
    pub fn expected(&self) -> String {
        let codes = self.refused.join(" or ");
        if matches!(self.way, Way::Rows | Way::CopyRows) { format!("no row, or {codes}") } else { codes }
    }

    fn finding(&self, tried: &str, by: &str, against: Option<&str>, got: String, verdict: Verdict) -> Finding {
        Finding {
            probe: self.id.to_owned(),
            area: Area::Database,
            what: self.what.to_owned(),
            tried: tried.to_owned(),
            by: by.to_owned(),
            against: against.map(ToOwned::to_owned),
            expected: self.expected(),
            got,
            verdict,
        }
    }
}

/// A role that has logged in.
struct Session {
    login: Login,
    maker: bool,
    application: bool,
    /// The connection, or why there is none.
    db: Result<Connection, Fault>,
}

/// Where labctl's registry is: a tenant must not get in.
#[derive(Debug, Clone)]
pub struct Registry {
    /// `host:port`, before any tunnel.
    pub endpoint: String,
    /// Its database.
    pub database: String,
}

/// A tenant that is about to try.
pub struct Attacker<'a> {
    cx: &'a Cx,
    tenant: &'a Subject,
    place: &'a Place,
    registry: Option<&'a Registry>,
    sessions: Vec<Session>,
    probes: Vec<&'static Probe>,
}

/// Logs in as each of the tenant's roles; `None` where it has nothing in PostgreSQL. A role that cannot log in proves nothing, and is told so.
pub async fn look<'a>(cx: &'a Cx, tenant: &'a Subject, registry: Option<&'a Registry>) -> Option<Attacker<'a>> {
    let place = tenant.place.as_ref()?;
    let logins = tenant.logins();
    let mut posts = place.posts();
    for role in &logins {
        if !posts.contains(&role.part) {
            posts.push(role.part.clone());
        }
    }
    let mut sessions = Vec::new();
    for post in posts {
        let nobody =
            || Login { endpoint: place.host.endpoint.clone(), database: place.database.clone(), username: post.clone(), password: String::new().into() };
        let found = match logins.iter().find(|r| r.part == post) {
            Some(role) => tenant.login(cx, place, role).await,
            None => Err(Fault::refused("registry:resources", "no_login", format!("no login of the role `{post}` is on record"))),
        };
        let (login, db) = match found {
            Ok(login) => {
                let db = cx.db.connect_alone(&login).await;
                (login, db)
            }
            Err(fault) => (nobody(), Err(fault)),
        };
        sessions.push(Session { login, maker: place.shared.is_none() && post == place.migrate, application: post == place.app, db });
    }
    Some(Attacker { cx, tenant, place, registry, sessions, probes: PROBES.iter().chain(ROWS).collect() })
}

/// What a tenant whose place cannot be told would have tried.
pub fn not_run(tenant: &Subject, neighbours: &[Subject], why: &str) -> Findings {
    let mut all = Findings::default();
    for probe in PROBES {
        let against: Vec<Option<&str>> = if probe.about == About::Place { vec![None] } else { neighbours.iter().map(|b| Some(b.tenant.as_str())).collect() };
        all.findings.extend(against.into_iter().map(|b| probe.finding(probe.sql, &format!("roles of {}", tenant.tenant), b, why.to_owned(), Verdict::NotRun)));
    }
    all
}

impl Attacker<'_> {
    /// Tries only this probe from now on.
    pub fn only(&mut self, id: &str) {
        self.probes = PROBES.iter().chain(ROWS).filter(|p| p.id == id).collect();
    }

    /// Tries what needs no neighbour, or with one, what needs one.
    pub async fn attack(&mut self, neighbour: Option<&Subject>) -> Findings {
        let mut victim = match neighbour.and_then(|b| Some((b, b.place.as_ref()?))) {
            Some((b, place)) if place.host.endpoint == self.place.host.endpoint => Some(self.victim(b, place).await),
            _ => None,
        };
        let pid = victim.as_ref().map(|v| v.as_ref().map(|(_, pid)| *pid).map_err(ToString::to_string));
        let mut all = Findings::default();
        let mut sessions = std::mem::take(&mut self.sessions);
        let targets = self.targets(&mut sessions, neighbour).await;
        let together = neighbour.and_then(|b| b.place.as_ref()).is_some_and(|p| self.shares_with(p));
        for session in &mut sessions {
            let mut names = Names::new(self.tenant, self.place, &session.login.username);
            names.targets(targets.as_ref());
            if let Some(b) = neighbour {
                names.neighbour(self.place, b, targets.as_ref().ok(), pid.clone());
                if together {
                    let theirs = victim.as_mut().map(|v| v.as_mut().map(|(db, _)| db).map_err(|fault| fault.to_string()));
                    rows::name(&mut names, (&self.tenant.tenant, self.place), &b.tenant, session.db.as_mut().ok(), theirs).await;
                }
            }
            let found = self.by(session, &names, neighbour).await;
            all.add(found);
        }
        self.sessions = sessions;
        if self.place.shared.is_some() {
            let why = format!("`{}` has rows in shared tables, and no role that may make anything", self.tenant.tenant);
            let makers = self.probes.iter().filter(|p| p.who == Who::Maker && self.turn(p, neighbour));
            all.left_out.extend(makers.map(|p| LeftOut { probe: p.id.to_owned(), against: neighbour.map(|b| b.tenant.clone()), why: why.clone() }));
        }
        all.left_out.sort();
        all.left_out.dedup();
        all
    }

    /// A session of the neighbour's own, for as long as it is held: what is tried on it harms nobody.
    async fn victim(&self, b: &Subject, place: &Place) -> Result<(Connection, i32), Fault> {
        let roles = b.logins();
        let role = roles.first().ok_or_else(|| Fault::refused("postgres:connect", "no_login", format!("`{}` has no role that can log in", b.tenant)))?;
        let mut db = self.cx.db.connect_alone(&b.login(self.cx, place, role).await?).await?;
        let pid = targets::own_process(&mut db).await?;
        Ok((db, pid))
    }

    /// What there is to aim at: looked up by the first role that could log in.
    async fn targets(&self, sessions: &mut [Session], neighbour: Option<&Subject>) -> Result<Targets, String> {
        let near = neighbour.and_then(|b| b.place.as_ref()).filter(|p| p.host.endpoint == self.place.host.endpoint && p.database == self.place.database);
        let roles = near.map(Place::roles).unwrap_or_default();
        let schema = near.map(|p| Ident::new(&p.schema)).transpose().map_err(|e| e.to_string())?;
        let own = Ident::new(&self.place.schema).map_err(|e| e.to_string())?;
        match sessions.iter_mut().find_map(|s| s.db.as_mut().ok()) {
            Some(db) => targets::find(db, schema.as_ref(), &roles, &own).await.map_err(|e| e.to_string()),
            None => Err("none of the tenant's roles could log in".to_owned()),
        }
    }

    /// Whether both have rows in the same tables.
    fn shares_with(&self, other: &Place) -> bool {
        let same_database = other.host.endpoint == self.place.host.endpoint && other.database == self.place.database;
        same_database && self.place.shared.is_some() && other.shared.is_some() && other.schema == self.place.schema
    }

    /// Everything one role tries.
    async fn by(&self, session: &mut Session, names: &Names, neighbour: Option<&Subject>) -> Findings {
        let mut all = Findings::default();
        let (by, against) = (session.login.username.clone(), neighbour.map(|b| b.tenant.as_str()));
        let mut batch: Vec<(&Probe, String)> = Vec::new();
        let mine: Vec<&Probe> = self.probes.iter().copied().filter(|p| session.tries(p) && self.turn(p, neighbour)).collect();
        for probe in mine {
            if let Some(why) = neighbour.and_then(|b| b.unreadable.clone()) {
                all.findings.push(probe.finding(probe.sql, &by, against, why, Verdict::NotRun));
                continue;
            }
            let left_out = |why: String| LeftOut { probe: probe.id.to_owned(), against: against.map(ToOwned::to_owned), why };
            if let Some(why) = neighbour.and_then(|b| self.out_of_reach(probe, b)) {
                all.left_out.push(left_out(why));
                continue;
            }
            if let Way::Login(to) = probe.way {
                match (self.login_to(to, session, neighbour), &session.db) {
                    (Err(why), _) => all.left_out.push(left_out(why)),
                    // Who has no entry anywhere is kept out of there by nothing that would be proved.
                    (Ok(login), Err(fault)) => all.findings.push(probe.finding(&tried(&login), &by, against, no_session(fault), Verdict::NotRun)),
                    (Ok(login), Ok(_)) => all.findings.push(self.log_in(probe, login, &by, against).await),
                }
                continue;
            }
            let sql = match names.fill(probe.sql) {
                Ok(sql) => sql,
                Err(Why::NothingThere(why)) => {
                    all.left_out.push(left_out(why));
                    continue;
                }
                Err(Why::Unknown(why)) => {
                    all.findings.push(probe.finding(probe.sql, &by, against, why, Verdict::NotRun));
                    continue;
                }
            };
            match (&mut session.db, probe.way) {
                (Err(fault), _) => all.findings.push(probe.finding(&sql, &by, against, no_session(fault), Verdict::NotRun)),
                (Ok(_), Way::Statement | Way::Rows) => batch.push((probe, sql)),
                (Ok(db), way) => {
                    let outcome = match way {
                        Way::Copy => db.attempt_copy(&sql).await,
                        Way::CopyRows => db.attempt_copy_rows(&sql).await,
                        _ => db.attempt_alone(&sql).await,
                    };
                    let through = !matches!(outcome, Ok(Outcome::Failed { .. })) && way != Way::CopyRows;
                    all.findings.push(judged(probe, &sql, &by, against, outcome));
                    if through {
                        // What went through may have left half an answer on its connection: the next probe gets another one.
                        session.db = self.cx.db.connect_alone(&session.login).await;
                    }
                }
            }
        }
        let Ok(db) = &mut session.db else {
            all.findings.extend(batch.iter().map(|(p, sql)| p.finding(sql, &by, against, "the connection was lost".to_owned(), Verdict::NotRun)));
            return all;
        };
        let statements: Vec<String> = batch.iter().map(|(_, sql)| sql.clone()).collect();
        match db.attempt_all(&statements).await {
            Ok(outcomes) => all.findings.extend(batch.iter().zip(outcomes).map(|((p, sql), outcome)| judged(p, sql, &by, against, Ok(outcome)))),
            Err(fault) => all.findings.extend(batch.iter().map(|(p, sql)| p.finding(sql, &by, against, fault.to_string(), Verdict::NotRun))),
        }
        all
    }

    /// Whether a probe is to be tried now, by whomever. In tables that both share, those of a schema that is the neighbour's alone mean nothing;
    /// anywhere else, those of shared tables do.
    fn turn(&self, probe: &Probe, neighbour: Option<&Subject>) -> bool {
        if (probe.about == About::Place) != neighbour.is_none() {
            return false;
        }
        let together = neighbour.and_then(|b| b.place.as_ref()).is_some_and(|p| self.shares_with(p));
        match probe.about {
            About::Schema => !together,
            About::Rows => together,
            _ => true,
        }
    }

    /// Why a probe makes no sense against this neighbour.
    fn out_of_reach(&self, probe: &Probe, b: &Subject) -> Option<String> {
        let Some(place) = &b.place else { return Some(format!("`{}` has nothing in PostgreSQL", b.tenant)) };
        let same_server = place.host.endpoint == self.place.host.endpoint;
        let same_database = same_server && place.database == self.place.database;
        match probe.about {
            About::Roles if !same_server => Some(format!("`{}` is on another server, where these roles are not", b.tenant)),
            About::Schema if !same_database => Some(format!("`{}` is in another database, which no statement reaches", b.tenant)),
            About::Apart if same_database => Some(format!("`{}` is in the same database", b.tenant)),
            _ => None,
        }
    }

    fn login_to(&self, to: To, session: &Session, neighbour: Option<&Subject>) -> Result<Login, String> {
        let mut login = session.login.clone();
        let place = neighbour.and_then(|b| b.place.as_ref());
        match (to, place, self.registry) {
            (To::Maintenance, ..) => MAINTENANCE.clone_into(&mut login.database),
            (To::Registry, _, Some(registry)) => (login.endpoint, login.database) = (registry.endpoint.clone(), registry.database.clone()),
            (To::Registry, _, None) => return Err("the registry is reached by a socket of this machine, which no tenant has".to_owned()),
            (To::Neighbour, Some(p), _) => (login.endpoint, login.database) = (p.host.endpoint.clone(), p.database.clone()),
            (To::AsNeighbour, Some(p), _) => {
                // The one of its two logins that is open: the other would refuse everybody.
                let open = neighbour.and_then(|b| b.logins().into_iter().find(|r| r.part == p.app));
                login.username = open.map_or_else(|| p.app.clone(), |r| r.name);
            }
            (To::Neighbour | To::AsNeighbour, None, _) => return Err("the neighbour has nothing in PostgreSQL".to_owned()),
        }
        Ok(login)
    }

    async fn log_in(&self, probe: &Probe, login: Login, by: &str, against: Option<&str>) -> Finding {
        let tried = tried(&login);
        match self.cx.db.connect_alone(&login).await {
            Ok(_) => probe.finding(&tried, by, against, "logged in".to_owned(), Verdict::Breach),
            Err(fault) if fault.class == Class::Refused => {
                judged(probe, &tried, by, against, Ok(Outcome::Failed { code: fault.code.clone(), message: fault.message.clone() }))
            }
            Err(fault) => probe.finding(&tried, by, against, fault.to_string(), Verdict::NotRun),
        }
    }
}

impl Session {
    fn tries(&self, probe: &Probe) -> bool {
        match probe.who {
            Who::All => true,
            Who::Maker => self.maker,
            Who::Application => self.application,
        }
    }
}

fn tried(login: &Login) -> String {
    format!("connect to {}/{} as {}", login.endpoint, login.database, login.username)
}

fn no_session(fault: &Fault) -> String {
    format!("could not log in: {fault}")
}

fn judged(probe: &Probe, tried: &str, by: &str, against: Option<&str>, outcome: Result<Outcome, Fault>) -> Finding {
    match outcome {
        Ok(outcome) => {
            let got = match &outcome {
                Outcome::Done(n) if matches!(probe.way, Way::Rows | Way::CopyRows) => format!("{n} rows"),
                Outcome::Done(_) => "it went through, and was undone".to_owned(),
                Outcome::Failed { code, message } => format!("{code}: {message}"),
            };
            let verdict = probe.judge(&outcome);
            probe.finding(tried, by, against, got, verdict)
        }
        Err(fault) => probe.finding(tried, by, against, fault.to_string(), Verdict::NotRun),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_probes_have_one_id_and_there_are_more_than_forty() {
        let ids: std::collections::BTreeSet<_> = PROBES.iter().map(|p| p.id).collect();
        assert_eq!(ids.len(), PROBES.len());
        assert!(PROBES.len() > 40, "{}", PROBES.len());
    }

    #[test]
    fn a_failure_for_another_reason_is_no_refusal() {
        let probe = PROBES.iter().find(|p| p.id == "insert").unwrap();
        let rows =
            [("42501", Verdict::Refused), ("23502", Verdict::Breach), ("42P01", Verdict::NotRun), ("42601", Verdict::NotRun), ("57014", Verdict::NotRun)];
        for (code, verdict) in rows {
            assert_eq!(probe.judge(&Outcome::Failed { code: code.into(), message: String::new() }), verdict, "{code}");
        }
        assert_eq!(probe.judge(&Outcome::Done(0)), Verdict::Breach);
        let rows = PROBES.iter().find(|p| p.id == "any_right").unwrap();
        assert_eq!((rows.judge(&Outcome::Done(0)), rows.judge(&Outcome::Done(1))), (Verdict::Refused, Verdict::Breach));
    }
}
