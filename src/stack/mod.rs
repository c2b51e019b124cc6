//! What each tier of each product means: `templates/` to the desired state of a tenant. Pure but for reading a folder; knows specs, and
//! nothing of plans, kinds or the outside.
//!
//! * [`template`]: a stack as data: tiers, settings, bounds, resources, migrations.
//! * [`load`]: from a folder or from the copy in the binary.
//! * [`names`]: every physical name, from one table, checked in bytes.
//! * [`overrides`]: what a spec may have otherwise than its tier.
//! * [`mod@resolve`]: stack × spec × platform → [`Desired`].
//! * [`tiers`]: what `labctl tier` prints.
//! * [`migrations`]: the migration files of a stack.
//! * [`system`]: the tables that tenants of one database share.

mod adoption;
mod interpolate;
pub mod load;
pub mod migrations;
pub mod names;
pub mod overrides;
pub mod resolve;
pub mod system;
pub mod template;
pub mod tiers;

pub use load::Stacks;
pub use migrations::{SYSTEM as SYSTEM_MIGRATIONS, TENANT as TENANT_MIGRATIONS};
pub use resolve::{Desired, OutputsOf, Resource, resolve};
pub use template::{Bound, Isolation, Key, Migration, Stack};

#[cfg(test)]
mod tests;
