//! What an operator wants for one tenant: TOML (or flags) to [`TenantSpec`]. Pure; knows nothing of stacks, plans or the outside.
//!
//! * [`tenant`]: the spec itself, as the registry keeps it.
//! * [`mod@read`]: TOML to spec, by hand, so that every mistake is found at once and pointed at.
//! * [`flags`]: the same from a command line, with the same checks.
//! * [`folder`]: many specs together, and what must be unique among them.
//! * [`mod@write`]: a commented new spec, a spec back to TOML, the JSON Schema.
//! * [`problem`], [`tree`], [`rules`]: mistakes as diagnostics, TOML with places, the rules of single values. `stack` reads its
//!   templates with the first two.

pub mod flags;
pub mod folder;
pub mod problem;
pub mod read;
pub mod rules;
pub mod tenant;
pub mod tree;
pub mod write;

pub use flags::{Flags, from_flags};
pub use folder::{read_many, read_many_with};
pub use problem::{Invalid, Place, Plain, Problem, Source};
pub use read::{Parsed, parse, read};
pub use tenant::{Database, Sso, TenantSpec, Tier};
pub use write::{new_spec, schema, to_toml};
