//! A world in memory, and kinds over it. Every trouble is scripted, per verb and thing, and noted when it strikes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use labctl::engine::clock::{Instant, sleep};
use labctl::engine::fault::Fault;
use labctl::engine::kind::{Change, Deletion, Diff, Identity, Kind, Kinds, Limit, Observed, Outputs, Ready, Suspension, Target, Timing};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This call goes through; the next trouble in line is for the next call.
    None,
    Refuse,
    Busy,
    LoseBeforeEffect,
    LoseAfterEffect,
    Panic,
    /// Takes this many milliseconds, then goes through.
    Slow(u64),
    /// The process dies before, or after, the call takes effect.
    DieBefore,
    DieAfter,
}

/// What things of a name are like once they are made. All but the last two are seconds, by the engine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nature {
    /// From when it is made until it is seen at all.
    pub hidden: u32,
    /// From when it is made until it is ready.
    pub slow: u32,
    /// From when it is deleted until it is gone.
    pub lingers: u32,
    /// From an update until it shows.
    pub late: u32,
    pub broken: bool,
    /// Updates do nothing.
    pub stubborn: bool,
}

#[derive(Debug, Clone)]
pub struct Thing {
    pub kind: &'static str,
    pub name: String,
    pub id: String,
    pub owner: String,
    pub token: String,
    pub size: i64,
    pub shape: String,
    nature: Nature,
    made: Instant,
    /// When it was deleted.
    dying: Option<Instant>,
    /// An update that does not show yet, and when it was made.
    coming: Option<(Instant, i64)>,
}

impl Thing {
    fn gone(&self) -> bool {
        self.dying.is_some_and(|at| over(at, self.nature.lingers))
    }
}

fn over(since: Instant, seconds: u32) -> bool {
    since.elapsed() >= Duration::from_secs(seconds.into())
}

#[derive(Debug, Default)]
struct Inside {
    things: Vec<Thing>,
    natures: BTreeMap<String, Nature>,
    script: BTreeMap<String, VecDeque<Trouble>>,
    struck: Vec<String>,
    calls: Vec<String>,
    flying: BTreeMap<&'static str, (usize, usize)>,
    made: usize,
    /// What came to be and what went, in that order: `+bucket/a`, `-bucket/a`.
    effects: Vec<String>,
    die_at: Option<(usize, Trouble)>,
}

#[derive(Debug, Default)]
pub struct World {
    inside: Mutex<Inside>,
    /// The process is to die now.
    pub death: Notify,
}

impl World {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Troubles for the coming calls of that verb on that thing: `script("create bucket/a", [Busy, Busy])`.
    pub fn script(&self, what: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.inside().script.entry(what.to_owned()).or_default().extend(troubles);
    }

    /// What is still scripted will not strike.
    pub fn calm(&self) {
        self.inside().script.clear();
    }

    /// All things of that name, made from now on, are like this.
    pub fn nature(&self, name: &str, nature: Nature) {
        self.inside().natures.insert(name.to_owned(), nature);
    }

    /// The process dies at write call number `n` from now (0 for the next).
    pub fn die_at_write(&self, n: usize, how: Trouble) {
        let mut inside = self.inside();
        let so_far = inside.calls.iter().filter(|c| !c.starts_with("look")).count();
        inside.die_at = Some((so_far + n, how));
    }

    /// Somebody else's, or our own, made behind the engine's back.
    pub fn put(&self, kind: &'static str, name: &str, owner: &str, size: i64, shape: &str) -> String {
        let mut inside = self.inside();
        inside.made += 1;
        let id = if matches!(kind, "pool" | "blob") { format!("{kind}-{}", inside.made) } else { name.to_owned() };
        let nature = inside.natures.get(name).copied().unwrap_or_default();
        let (name, owner, shape) = (name.to_owned(), owner.to_owned(), shape.to_owned());
        let token = "theirs".into();
        inside.things.push(Thing { kind, name, id: id.clone(), owner, token, size, shape, nature, made: Instant::now(), dying: None, coming: None });
        id
    }

    pub fn remove(&self, name: &str) {
        self.inside().things.retain(|t| t.name != name);
    }

    pub fn things(&self) -> Vec<Thing> {
        self.inside().things.clone()
    }

    /// `bucket/a` for each thing there is, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.inside().things.iter().map(|t| format!("{}/{}", t.kind, t.name)).collect();
        names.sort();
        names
    }

    /// Calls made, looks left out: `create bucket/a`.
    pub fn writes(&self) -> Vec<String> {
        self.inside().calls.iter().filter(|c| !c.starts_with("look")).cloned().collect()
    }

    pub fn count(&self, call: &str) -> usize {
        self.inside().calls.iter().filter(|c| *c == call).count()
    }

    /// What came to be and what went, in that order: `+bucket/a`, `-bucket/a`.
    pub fn effects(&self) -> Vec<String> {
        self.inside().effects.clone()
    }

    /// Troubles that have struck: `create bucket/a: Busy`.
    pub fn struck(&self) -> Vec<String> {
        self.inside().struck.clone()
    }

    /// Troubles that were scripted and never struck: a test with any has not tested what it says.
    pub fn unused(&self) -> Vec<String> {
        let unused = |(k, v): (&String, &VecDeque<Trouble>)| v.iter().any(|t| *t != Trouble::None).then(|| format!("{k}: {v:?}"));
        self.inside().script.iter().filter_map(unused).collect()
    }

    /// The most creates of that kind that were in flight at once.
    pub fn most_at_once(&self, kind: &str) -> usize {
        self.inside().flying.get(kind).map_or(0, |(_, most)| *most)
    }

    /// Notes the call and finds its trouble.
    fn call(&self, verb: &str, kind: &str, name: &str) -> Trouble {
        let mut inside = self.inside();
        let what = format!("{verb} {kind}/{name}");
        let mut trouble = inside.script.get_mut(&what).and_then(VecDeque::pop_front).unwrap_or(Trouble::None);
        if verb != "look" {
            let nth = inside.calls.iter().filter(|c| !c.starts_with("look")).count();
            if let Some((at, how)) = inside.die_at
                && at == nth
            {
                trouble = how;
            }
        }
        inside.calls.push(what.clone());
        if trouble != Trouble::None {
            inside.struck.push(format!("{what}: {trouble:?}"));
        }
        trouble
    }

    async fn die(&self) -> ! {
        self.death.notify_one();
        std::future::pending().await
    }

    /// One call: trouble before, effect, trouble after.
    async fn carry_out<T>(&self, verb: &str, kind: &'static str, name: &str, effect: impl FnOnce(&mut Inside) -> Result<T, Fault>) -> Result<T, Fault> {
        let call = format!("{kind}:{verb}");
        let trouble = self.call(verb, kind, name);
        match trouble {
            Trouble::Refuse => return Err(Fault::refused(call, "AccessDenied", "you may not")),
            Trouble::Busy => return Err(Fault::busy(call, "Throttling", "not now")),
            Trouble::LoseBeforeEffect => return Err(Fault::unknown(call, "timeout", "no answer in time")),
            Trouble::Panic => panic!("scripted"),
            Trouble::DieBefore => self.die().await,
            Trouble::Slow(ms) => sleep(Duration::from_millis(ms)).await,
            _ => tokio::task::yield_now().await,
        }
        let done = effect(&mut self.inside());
        match trouble {
            Trouble::LoseAfterEffect => Err(Fault::unknown(call, "timeout", "no answer in time")),
            Trouble::DieAfter => self.die().await,
            _ => {
                tokio::task::yield_now().await;
                done
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    pub name: String,
    /// Changed in place.
    #[serde(default = "one")]
    pub size: i64,
    /// Changed only by making it again.
    #[serde(default = "round")]
    pub shape: String,
    /// Refers to others.
    #[serde(default)]
    pub of: Vec<String>,
}

fn one() -> i64 {
    1
}

fn round() -> String {
    "round".into()
}

#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    size: i64,
    shape: String,
    status: String,
}

async fn observe(world: &World, kind: &'static str, identity: Identity, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
    let (name, owner) = (&target.spec.name, target.address.to_string());
    world
        .carry_out("look", kind, name, |inside| {
            for t in inside.things.iter_mut().filter(|t| t.kind == kind && t.name == *name) {
                if let Some((_, size)) = t.coming.take_if(|(at, _)| over(*at, t.nature.late)) {
                    t.size = size;
                }
            }
            inside.things.retain(|t| !(t.kind == kind && t.name == *name && t.gone()));
            let seen: Vec<&Thing> = inside
                .things
                .iter()
                .filter(|t| t.kind == kind && over(t.made, t.nature.hidden))
                .filter(|t| match identity {
                    Identity::Name | Identity::Token => t.name == *name,
                    Identity::Tag => t.owner == owner,
                    Identity::RecordedOnly => Some(t.id.as_str()) == recorded,
                })
                .collect();
            if seen.len() > 1 {
                return Ok(Observed::Many(seen.iter().map(|t| t.id.clone()).collect()));
            }
            let Some(t) = seen.first() else { return Ok(Observed::Absent) };
            if t.owner != owner {
                return Ok(Observed::Foreign(t.owner.clone()));
            }
            let status = if t.dying.is_some() {
                "deleting"
            } else if !over(t.made, t.nature.slow) {
                "creating"
            } else if t.nature.broken {
                "broken"
            } else {
                "ready"
            };
            Ok(Observed::Mine { id: t.id.clone(), state: State { size: t.size, shape: t.shape.clone(), status: status.into() } })
        })
        .await
}

async fn create(world: &World, kind: &'static str, identity: Identity, target: &Target<'_, Spec>, token: &str) -> Result<String, Fault> {
    let Spec { name, shape, .. } = target.spec;
    {
        let mut inside = world.inside();
        let (now, most) = inside.flying.entry(kind).or_default();
        *now += 1;
        *most = (*most).max(*now);
    }
    let made = world
        .carry_out("create", kind, name, |inside| {
            if let Some(there) = inside.things.iter().find(|t| t.kind == kind && t.name == *name && matches!(identity, Identity::Name | Identity::Token)) {
                return match identity {
                    Identity::Token if there.token == token => Ok(there.id.clone()),
                    _ => Err(Fault::unknown(format!("{kind}:create"), "AlreadyExists", "there is one of that name")),
                };
            }
            inside.made += 1;
            let id = if matches!(identity, Identity::Tag | Identity::RecordedOnly) { format!("{kind}-{}", inside.made) } else { name.clone() };
            let nature = inside.natures.get(name).copied().unwrap_or_default();
            let (owner, token, id2) = (target.address.to_string(), token.to_owned(), id.clone());
            inside.effects.push(format!("+{kind}/{name}"));
            // The size is a follow-up setting: a create makes it 1, an update what is wanted.
            let (name, shape, made) = (name.clone(), shape.clone(), Instant::now());
            inside.things.push(Thing { kind, name, id: id2, owner, token, size: 1, shape, nature, made, dying: None, coming: None });
            Ok(id)
        })
        .await;
    if let Some((now, _)) = world.inside().flying.get_mut(kind) {
        *now -= 1;
    }
    made
}

async fn update(world: &World, kind: &'static str, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
    let size = target.spec.size;
    world
        .carry_out("update", kind, &target.spec.name, |inside| {
            for t in inside.things.iter_mut().filter(|t| t.kind == kind && t.id == id) {
                t.nature.broken = false;
                if t.nature.late > 0 {
                    // The same once more does not make it any later.
                    t.coming.take_if(|(_, s)| *s != size);
                    t.coming.get_or_insert((Instant::now(), size));
                } else if !t.nature.stubborn {
                    t.size = size;
                }
            }
            Ok(())
        })
        .await
}

async fn delete(world: &World, kind: &'static str, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
    world
        .carry_out("delete", kind, &target.spec.name, |inside| {
            if inside.things.iter().any(|t| t.kind == kind && t.id == id && t.dying.is_none()) {
                inside.effects.push(format!("-{kind}/{}", target.spec.name));
            }
            for t in inside.things.iter_mut().filter(|t| t.kind == kind && t.id == id) {
                t.dying.get_or_insert_with(Instant::now);
            }
            inside.things.retain(|t| !(t.kind == kind && t.id == id && t.gone()));
            Ok(())
        })
        .await
}

macro_rules! kind {
    ($type:ident, $name:literal, $identity:ident, $deletion:ident, $concurrency:literal, $deadline:literal, $seconds:literal, $volatile:expr) => {
        pub struct $type;
        impl Kind for $type {
            type Cx = World;
            type Spec = Spec;
            type State = State;
            const NAME: &'static str = $name;
            const IDENTITY: Identity = Identity::$identity;
            const DELETION: Deletion = Deletion::$deletion;
            const LIMIT: Limit = Limit { api: $name, per_second: 1e6, burst: 1000, concurrency: $concurrency };
            const TIMING: Timing = Timing::secs($seconds, $deadline);
            const OUTPUTS: &'static [&'static str] = &["id", "name", "version"];
            const VOLATILE: &'static [&'static str] = $volatile;

            fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
                spec
            }
            async fn observe(&self, cx: &World, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
                observe(cx, $name, Identity::$identity, target, recorded).await
            }
            fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
                if target.spec.shape == "sealed" && state.shape != "sealed" {
                    return Diff::Forbidden("what is open cannot be sealed".into());
                }
                match Change::between("shape", &state.shape, &target.spec.shape) {
                    Some(change) => Diff::Replace(change),
                    None => Diff::of(Change::between("size", &state.size, &target.spec.size)),
                }
            }
            async fn create(&self, cx: &World, target: &Target<'_, Spec>, token: &str) -> Result<String, Fault> {
                create(cx, $name, Identity::$identity, target, token).await
            }
            async fn update(&self, cx: &World, target: &Target<'_, Spec>, id: &str, _: &State) -> Result<(), Fault> {
                update(cx, $name, target, id).await
            }
            async fn delete(&self, cx: &World, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
                delete(cx, $name, target, id).await
            }
            fn ready(&self, _: &Target<'_, Spec>, state: &State) -> Ready {
                match state.status.as_str() {
                    "ready" => Ready::Ready,
                    "broken" => Ready::Broken("its rollout failed".into()),
                    other => Ready::Waiting(other.into()),
                }
            }
            fn outputs(&self, target: &Target<'_, Spec>, id: &str, state: &State) -> Outputs {
                let version = format!("{}:{}", target.spec.name, state.size);
                Outputs::from([("id".into(), id.into()), ("name".into(), target.spec.name.clone()), ("version".into(), version)])
            }
        }
    };
}

kind!(Bucket, "bucket", Name, Delete, 2, 1800, 2, &[]);
kind!(Database, "database", Name, Retain, 8, 3600, 600, &[]);
kind!(Pool, "pool", Tag, Delete, 8, 1800, 5, &[]);
kind!(Service, "service", Token, Delete, 8, 1800, 60, &["version"]);
kind!(Blob, "blob", RecordedOnly, Delete, 8, 1800, 1, &[]);
kind!(Tortoise, "tortoise", Name, Delete, 8, 600, 900, &[]);

pub static KINDS: Kinds<World> = &[&Blob, &Bucket, &Database, &Pool, &Service, &Tortoise];
