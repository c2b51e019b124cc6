//! Many specs together: each read, and what must be unique among them.

use std::collections::HashMap;

use super::problem::{Invalid, Place, Problem};
use super::read::{Parsed, parse};
use super::tenant::TenantSpec;

/// Reads specs, given as (name, text), and checks what must be unique among them.
///
/// # Errors
/// Everything that is wrong, over all files.
pub fn read_many(files: &[(String, String)]) -> Result<Vec<TenantSpec>, Invalid> {
    read_many_with(files, &mut |_| ())
}

/// The same, with further checks of each spec (the stack's).
///
/// # Errors
/// Everything that is wrong, over all files.
pub fn read_many_with(files: &[(String, String)], check: &mut dyn FnMut(&mut Parsed)) -> Result<Vec<TenantSpec>, Invalid> {
    let mut seen = Seen::default();
    let mut specs = Vec::with_capacity(files.len());
    let mut problems = Vec::new();
    for (name, text) in files {
        let mut parsed = parse(name, text);
        check(&mut parsed);
        seen.take_in(&mut parsed);
        let (spec, wrong) = parsed.take();
        specs.push(spec);
        problems.extend(wrong);
    }
    Invalid::unless_empty(specs, problems)
}

/// Why two different texts are one.
const MADE: &str = "both make one name in database or storage";
const FOLDED: &str = "they differ only in case";

/// What must differ from tenant to tenant, and the first place each value was seen.
#[derive(Default)]
struct Seen(HashMap<(&'static str, String), (String, Place)>);

impl Seen {
    fn take_in(&mut self, parsed: &mut Parsed) {
        let spec = parsed.draft().clone();
        let mut clash = false;
        // Folded as PostgreSQL and S3 would see them, so that `a_b` meets `a-b` although only one of them is a valid slug.
        let folded = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
        if parsed.said("id").is_some() {
            clash |= self.unique(parsed, "id", "id", MADE, folded(&spec.id), &spec.id);
        }
        if parsed.said("subdomain").is_some() && !(clash && spec.subdomain == spec.id) {
            clash |= self.unique(parsed, "subdomain", "subdomain (and so the schema)", MADE, folded(&spec.subdomain), &spec.subdomain);
        }
        // Product and id meet in names: `a` + `b-c` and `a-b` + `c` would both be `a-b-c`.
        if parsed.said("id").is_some() && parsed.said("stack").is_some() && !clash {
            let base = format!("{}-{}", spec.stack, spec.id);
            self.unique(parsed, "id", "name of bucket and services", MADE, base.clone(), &base);
        }
        if parsed.said("email").is_some() {
            self.unique(parsed, "email", "administrator's e-mail", FOLDED, spec.email.to_lowercase(), &spec.email);
        }
        if let Some(external) = &spec.external_id
            && parsed.said("external_id").is_some()
        {
            self.unique(parsed, "external_id", "external id", FOLDED, external.to_lowercase(), external);
        }
    }

    /// Whether the value was there before; then both places are named.
    fn unique(&mut self, parsed: &mut Parsed, field: &str, what: &'static str, why: &str, key: String, shown: &str) -> bool {
        let place = parsed.place(field).clone();
        match self.0.entry((what, key)) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert((shown.to_owned(), place));
                false
            }
            std::collections::hash_map::Entry::Occupied(taken) => {
                let (first, first_place) = taken.get();
                let message = if first == shown {
                    format!("the {what} `{shown}` is taken by another spec, {first_place}")
                } else {
                    format!("the {what} `{shown}` is too like `{first}` of another spec, {first_place}: {why}")
                };
                parsed
                    .refuse(Problem::new("spec::not_unique", &place, message).label("the second of the two").also(first_place, "the first of the two is here"));
                true
            }
        }
    }
}
