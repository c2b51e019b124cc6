//! Two operators at one tenant, or at one fleet: exactly one runs, the other is turned away at once and told by whom. And holders that die, or
//! only sleep.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sqlx::PgConnection;

use super::dice::Dice;
use super::fixture::{Run, Running, World, aside, blocking, long};
use super::fleets::{Fleet, count, says, tagged};
use super::sweep::sweep;

/// What keeps the one that runs from getting on before the other has been turned away.
enum Stall {
    /// The tenant is not on record, and its id is about to be taken.
    Newborn(String),
    /// The tenant's row.
    Row(String),
    /// The table its migration changes.
    Table(String),
}

impl Stall {
    async fn begin(&self, world: &World) -> PgConnection {
        let (mut db, sql) = match self {
            Self::Newborn(id) => {
                let insert = format!(
                    "INSERT INTO labctl.tenants (id, display_name, subdomain, stack, tier, isolation, revision)
                     VALUES ('{id}', '{id}', '{id}', 'labcloud', 'trial', 'schema', 1)"
                );
                (world.registry().await, insert)
            }
            Self::Row(id) => (world.registry().await, format!("SELECT FROM labctl.tenants WHERE id = '{id}' FOR NO KEY UPDATE")),
            Self::Table(table) => (world.superuser("shared").await, format!("LOCK TABLE {table} IN ACCESS SHARE MODE")),
        };
        says(&mut db, &format!("BEGIN; {sql}")).await;
        db
    }
}

/// Two commands at once.
struct Round<'a> {
    kind: &'static str,
    /// What is locked.
    lease: &'a str,
    stall: Stall,
    first: Vec<String>,
    second: Vec<String>,
    /// Both are started at once, and either may win; else the second comes when the first is at it.
    race: bool,
    /// What the one at it may be said to do.
    doing: &'static [&'static str],
}

/// The epoch under which this process is at it.
async fn epoch_of(registry: &mut PgConnection, lease: &str, pid: u32) -> Option<i64> {
    let sql = "SELECT max(epoch) FROM labctl.leases WHERE tenant LIKE $1 AND pid = $2 AND holder IS NOT NULL";
    sqlx::query_scalar(sql).bind(lease).bind(i32::try_from(pid).unwrap()).fetch_one(registry).await.unwrap()
}

async fn held_by(registry: &mut PgConnection, lease: &str, running: &mut Running) -> i64 {
    loop {
        if let Some(epoch) = epoch_of(registry, lease, running.child.id()).await {
            return epoch;
        }
        assert!(running.child.try_wait().unwrap().is_none(), "it ended before it was at it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn spawn(world: &World, args: &[String]) -> (Running, Instant) {
    let args: Vec<&str> = args.iter().map(String::as_str).chain(["-o", "json"]).collect();
    (world.spawn(&args), Instant::now())
}

impl Round<'_> {
    /// How long the one took that was turned away.
    async fn play(self, world: &'static World) -> Duration {
        let mut registry = world.registry().await;
        let mut stall = self.stall.begin(world).await;
        let (mut first, began) = spawn(world, &self.first);
        if !self.race {
            held_by(&mut registry, self.lease, &mut first).await;
        }
        let (second, at) = spawn(world, &self.second);
        let mut pair = [(first, began), (second, at)];
        let (loser, took) = 'ended: loop {
            for (n, (running, at)) in pair.iter_mut().enumerate() {
                if running.child.try_wait().unwrap().is_some() {
                    break 'ended (n, at.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let [first, second] = pair.map(|(running, _)| running);
        let (refused, mut winner) = if loser == 0 { (first, second) } else { (second, first) };
        let refused = refused.end();
        assert_eq!(refused.code, 5, "{}\n{refused}", self.kind);
        let pid = winner.child.id();
        held_by(&mut registry, self.lease, &mut winner).await;
        let message = refused.error()["message"].as_str().unwrap().to_owned();
        // Who, where, which process; what it does; since when.
        assert!(message.contains(" is locked by e2e@") && message.contains(&format!(" (process {pid}), `")), "{}: {message}", self.kind);
        assert!(self.doing.iter().any(|verb| message.contains(verb)), "{}: {message}", self.kind);
        let since = message.rsplit(", ").next().unwrap();
        assert!(since.strip_suffix('s').is_some_and(|n| n.parse::<u32>().is_ok()), "{}: {message}", self.kind);
        assert_eq!(refused.error()["code"], "locked");
        // A migration shows how the tenant stands, too.
        assert!(refused.out.is_empty() || self.kind == "apply against migrate", "{refused}");
        says(&mut stall, "ROLLBACK").await;
        let done = blocking(move || winner.end()).await.unwrap();
        assert_eq!(done.code, 0, "{}: the one that was at it\n{done}", self.kind);
        assert_eq!(epoch_of(&mut registry, self.lease, pid).await, None, "{}: it is still locked", self.kind);
        took
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(ToOwned::to_owned).collect()
}

/// Seven kinds of rounds in turn; the order of who begins is drawn where both may.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_exactly_one_runs_and_the_other_is_told_at_once_who() {
    let (rounds, seed) = if long() { (100, 5_005) } else { (10, 5) };
    let world = aside();
    let mut dice = Dice::of(seed);
    let fleet = Fleet::empty(world, "duels").plant(None, 3).await;
    let one = Fleet::empty(world, "duel");
    let spec = |id: &str, name: &str| {
        let file = tagged(world, id, "labcloud", "trial", "duel");
        let path = world.dir().join("specs").join(&file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace(&format!("Tenant {id}"), name)).unwrap();
        file
    };
    let made = one.labctl(&["tenant", "create", &spec("duel-one", "Duel")]).await;
    assert_eq!(made.code, 0, "{made}");
    let (mut slowest, mut version, mut suspended) = (Duration::ZERO, 2, false);
    let mut played: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    for n in 0..rounds {
        let id = format!("duel-{n:03}");
        let row = || Stall::Row("duel-one".to_owned());
        let round = match n % 7 {
            0 => {
                let create = words(&format!("tenant create {}", spec(&id, &id)));
                Round {
                    kind: "two creates of one file",
                    doing: &["tenant create"],
                    lease: &id,
                    stall: Stall::Newborn(id.clone()),
                    first: create.clone(),
                    second: create,
                    race: true,
                }
            }
            1 => {
                let apply = one.args(&["tenant", "apply", &spec("duel-one", &format!("Duel {n}"))]);
                Round { kind: "two applies", doing: &["tenant apply"], lease: "duel-one", stall: row(), first: apply.clone(), second: apply, race: true }
            }
            2 => {
                let (create, delete) = (words(&format!("tenant create {}", spec(&id, &id))), words(&format!("tenant delete {id} --reason end --confirm {id}")));
                Round {
                    kind: "create against delete",
                    doing: &["tenant create"],
                    lease: &id,
                    stall: Stall::Newborn(id.clone()),
                    first: create,
                    second: delete,
                    race: false,
                }
            }
            3 => {
                let (suspend, resume) = (one.args(&["tenant", "suspend", "duel-one"]), one.args(&["tenant", "resume", "duel-one"]));
                let (first, second) = if suspended { (resume, suspend) } else { (suspend, resume) };
                suspended = !suspended;
                Round {
                    kind: "suspend against resume",
                    doing: &["tenant suspend", "tenant resume"],
                    lease: "duel-one",
                    stall: row(),
                    first,
                    second,
                    race: false,
                }
            }
            4 => {
                version += 1;
                fleet.file(&format!("V{version}__round.sql"), &format!("ALTER TABLE lab_results ADD round_{n} int;\n"));
                let migrate = fleet.args(&["fleet", "migrate", "--tag", "fleet=duels", "--lock-timeout", "1m"]);
                let stall = Stall::Table(format!("{}.lab_results", fleet.schema(1)));
                Round {
                    kind: "two fleet migrations",
                    doing: &["`fleet migrate`"],
                    lease: "@fleet/%",
                    stall,
                    first: migrate.clone(),
                    second: migrate,
                    race: true,
                }
            }
            5 => {
                let next = 3 + n;
                one.file(&format!("V{next}__round.sql"), &format!("ALTER TABLE lab_results ADD round_{n} int;\n"));
                let (migrate, apply) = (one.args(&["tenant", "migrate", "duel-one"]), one.args(&["tenant", "apply", "duel-one"]));
                let stall = Stall::Table("tenant_duel_one.lab_results".to_owned());
                Round { kind: "migrate against apply", doing: &["`tenant migrate`"], lease: "duel-one", stall, first: migrate, second: apply, race: false }
            }
            _ => {
                let apply = one.args(&["tenant", "apply", &spec("duel-one", &format!("Duel {n}"))]);
                let migrate = one.args(&["tenant", "migrate", "duel-one"]);
                // There must be something to migrate, or there is nothing to be turned away from.
                one.file(&format!("V{}__round.sql", 3 + n), &format!("CREATE TABLE round_{n} (id int);\n"));
                Round { kind: "apply against migrate", doing: &["tenant apply"], lease: "duel-one", stall: row(), first: apply, second: migrate, race: false }
            }
        };
        let kind = round.kind;
        let round = if round.race && dice.below(2) == 0 { Round { first: round.second, second: round.first, ..round } } else { round };
        let took = round.play(world).await;
        *played.entry(kind).or_default() += 1;
        slowest = slowest.max(took);
        // Every commit runs beside all the other tests: there it is only not to wait for the lease, which lasts a minute.
        let at_once = Duration::from_secs(if long() { 1 } else { 15 });
        assert!(took < at_once, "round {n}, {kind}: turned away after {took:.2?}");
    }
    println!("seed {seed}: {rounds} rounds, {played:?}; turned away after {slowest:.0?} at most, from the start of the process");
    let mut registry = world.registry().await;
    let doubled = "SELECT count(*) FROM (SELECT FROM labctl.operations WHERE tenant LIKE 'duel-0%' GROUP BY tenant HAVING count(*) > 1) t";
    assert_eq!(count(&mut registry, doubled).await, 0, "each was made in one operation");
    assert_eq!(count(&mut registry, "SELECT count(*) FROM labctl.leases WHERE tenant ~ '^duels?-' AND holder IS NOT NULL").await, 0);
    let twice = "SELECT count(*) FROM (SELECT FROM labctl_ledger.schemas WHERE schema LIKE 'tenant\\_duel%' GROUP BY schema, folder HAVING count(*) > 1) t";
    assert_eq!(count(&mut world.superuser("shared").await, twice).await, 0);
}

/// All that is on record of a tenant.
async fn on_record(registry: &mut PgConnection, id: &str) -> String {
    let rows = ["operations", "steps s JOIN labctl.operations o ON o.number = s.operation", "resources", "revisions", "audit"].map(|table| {
        let (columns, from) = if table.starts_with("steps") { ("s", table) } else { ("r", table) };
        let alias = if columns == "r" { " r" } else { "" };
        format!("SELECT '{}' || to_jsonb({columns})::text AS row FROM labctl.{from}{alias} WHERE tenant = '{id}'", &table[..5])
    });
    let sql = format!("SELECT coalesce(string_agg(row, E'\\n' ORDER BY row), '') FROM ({}) all_rows", rows.join(" UNION ALL "));
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(registry).await.unwrap()
}

async fn apply(world: &'static World, id: &str) -> Run {
    let args = [words("tenant apply"), vec![id.to_owned()], words("-o json")].concat();
    blocking(move || world.run(&args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_dead_holder_is_taken_over_at_once() {
    let world = aside();
    // The first command makes the registry.
    blocking(|| world.ok(&["tenant", "list"])).await.unwrap();
    let mut registry = world.registry().await;
    let mut slowest = Duration::ZERO;
    for n in 0..if long() { 20 } else { 2 } {
        let (id, mut dice) = (format!("dead-{n}"), Dice::of(77 + n));
        let spec = world.spec(&id, "labcloud", "trial");
        let (mut dying, _) = spawn(world, &words(&format!("tenant create {spec}")));
        let epoch = held_by(&mut registry, &id, &mut dying).await;
        tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
        dying.signal(Signal::SIGKILL);
        let died = Instant::now();
        assert_eq!(dying.end().code, -(Signal::SIGKILL as i32));
        let (mut next, _) = spawn(world, &words(&format!("tenant create {spec}")));
        assert!(held_by(&mut registry, &id, &mut next).await > epoch);
        slowest = slowest.max(died.elapsed());
        let done = blocking(move || next.end()).await.unwrap();
        assert_eq!(done.code, 0, "{done}");
    }
    println!("a dead holder's lease was taken over after {slowest:.0?} at most");
    // Half a minute is still far from the minute that a lease lasts.
    assert!(slowest < Duration::from_secs(if long() { 5 } else { 30 }), "{slowest:?}");
}

/// A process stopped on its way lives: its lease holds until it has run out. Whoever takes over then finishes; the first, awake again, is
/// turned away at its first write and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_holder_keeps_its_lease_while_it_lasts_and_awake_again_writes_nothing() {
    let world = aside();
    let mut registry = world.registry().await;
    for n in 0..if long() { 5 } else { 1 } {
        let id = format!("stopped-{n}");
        let spec = world.spec(&id, "labcloud", "trial");
        let mut sleeper = world.spawn(&["tenant", "create", &spec]);
        assert!(sleeper.hear(" created ", 1 + n));
        sleeper.signal(Signal::SIGSTOP);
        let refused = apply(world, &id).await;
        assert_eq!((refused.code, refused.error()["code"].as_str()), (5, Some("locked")), "it lives: {refused}");
        assert!(refused.error()["message"].to_string().contains(&format!("(process {})", sleeper.child.id())), "{refused}");
        let stopped = Instant::now();
        if !long() {
            says(&mut registry, &format!("UPDATE labctl.leases SET expires_at = clock_timestamp() WHERE tenant = '{id}'")).await;
        }
        let mut over = None;
        loop {
            let run = apply(world, &id).await;
            if run.code == 5 {
                assert!(long() && stopped.elapsed() < Duration::from_secs(75), "its lease never ran out: {run}");
                continue;
            }
            over.get_or_insert(stopped.elapsed());
            if run.code == 0 {
                break;
            }
            // What the sleeper had begun in the tenant's database is in the way until the server ends its session.
            assert!(run.code == 3 && stopped.elapsed() < Duration::from_secs(180), "{run}");
        }
        if long() {
            println!("a stopped holder's lease was taken over after {:.0?}", over.unwrap_or_default());
            assert!(over > Some(Duration::from_secs(40)), "and not before it had run out");
        }
        let (before, things) = (on_record(&mut registry, &id).await, sweep(world).await[&id].clone());
        sleeper.signal(Signal::SIGCONT);
        let woken = blocking(move || sleeper.end()).await.unwrap();
        assert_eq!(woken.code, 5, "{woken}");
        assert!(woken.err.contains("was taken over by another process"), "{woken}");
        assert_eq!(on_record(&mut registry, &id).await, before, "it has written nothing");
        assert_eq!(sweep(world).await[&id], things, "and made nothing");
        let settled = apply(world, &id).await;
        assert!(settled.code == 0 && settled.err.contains("no changes"), "{settled}");
    }
}
