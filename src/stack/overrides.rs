//! What a spec may have otherwise than its tier, and how far.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::template::{Bound, TierTemplate};
use crate::spec::problem::closest;

/// An override that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its path.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Last word of the setting beside each `….desired`: when that was asked for. It takes effect once although the count may belong to
/// auto-scaling. No tier names it; it is allowed where `….desired` is.
pub const ASKED: &str = "asked";

/// How far the tier lets that setting be overridden; `None` where it does not.
pub fn bound<'t>(tier: &'t TierTemplate, path: &str) -> Option<Cow<'t, Bound>> {
    let asked = || {
        let group = path.strip_suffix(ASKED)?;
        tier.overrides.contains_key(&format!("{group}desired")).then_some(Cow::Owned(Bound::Word { max_bytes: 32 }))
    };
    tier.overrides.get(path).map(Cow::Borrowed).or_else(asked)
}

/// The groups of settings of which a tier lets that one be overridden: with `image`, all `x` with an override `x.image`.
pub fn groups<'t>(tier: &'t TierTemplate, setting: &str) -> Vec<&'t str> {
    tier.overrides.keys().filter_map(|path| path.rsplit_once('.').filter(|(_, last)| *last == setting)).map(|(group, _)| group).collect()
}

/// The tier's settings with the overrides in their places.
///
/// # Errors
/// Every override that the tier does not allow or that is out of bounds.
pub fn apply(tier: &TierTemplate, overrides: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, Vec<Refusal>> {
    let mut settings = tier.settings.clone();
    let mut refused = Vec::new();
    for (path, value) in overrides {
        let Some(bound) = bound(tier, path) else {
            refused.push(Refusal { path: path.clone(), message: not_allowed(tier, path), hint: allowed_instead(tier, path) });
            continue;
        };
        match within(&bound, value) {
            Ok(()) => {
                settings.insert(path.clone(), value.clone());
            }
            Err(why) => {
                refused.push(Refusal { path: path.clone(), message: format!("the override `{path}` is {why}"), hint: format!("allowed here: {bound}") })
            }
        }
    }
    if refused.is_empty() {
        refused.extend(crossed(&settings, overrides));
    }
    if refused.is_empty() { Ok(settings) } else { Err(refused) }
}

fn not_allowed(tier: &TierTemplate, path: &str) -> String {
    if tier.settings.contains_key(path) {
        format!("this tier does not allow its `{path}` to be overridden")
    } else {
        format!("this tier has no setting `{path}`")
    }
}

fn allowed_instead(tier: &TierTemplate, path: &str) -> String {
    // A setting there is, and which is fixed, was not misspelt.
    let misspelt = !tier.settings.contains_key(path);
    if let Some(best) = closest(path, tier.overrides.keys().map(String::as_str)).filter(|_| misspelt) {
        return format!("did you mean `{best}`?");
    }
    let all: Vec<_> = tier.overrides.iter().map(|(path, bound)| format!("{path} ({bound})")).collect();
    if all.is_empty() { "this tier allows no overrides".to_owned() } else { format!("it allows: {}", all.join("; ")) }
}

/// Whether a value keeps a bound.
///
/// # Errors
/// How it does not.
pub fn within(bound: &Bound, value: &Value) -> Result<(), String> {
    let ok = match bound {
        Bound::Range { min, max } => match value.as_i64() {
            Some(n) => (*min..=*max).contains(&n),
            None => return Err(format!("{value}, which is no integer")),
        },
        Bound::OneOf(values) => values.contains(value),
        Bound::Word { max_bytes } => match value.as_str() {
            Some(text) => !text.is_empty() && text.len() <= *max_bytes && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
            None => return Err(format!("{value}, which is no string")),
        },
        Bound::Either => value.is_boolean(),
        Bound::Image => match value.as_str() {
            Some(text) => return image(text).map_err(|why| format!("{value}: {why}")),
            None => return Err(format!("{value}, which is no string")),
        },
    };
    if ok { Ok(()) } else { Err(format!("{value}, out of bounds")) }
}

/// Whether a text names an image for certain: registry and repository, then a tag, a digest or both.
fn image(text: &str) -> Result<(), &'static str> {
    if text.len() > 512 {
        return Err("longer than 512 bytes");
    }
    let (named, digest) = text.split_once('@').map_or((text, None), |(named, digest)| (named, Some(digest)));
    let hex = |d: &str| d.len() == 64 && d.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if digest.is_some_and(|d| !d.strip_prefix("sha256:").is_some_and(hex)) {
        return Err("what follows the `@` is not `sha256:` and 64 hexadecimal digits");
    }
    // A colon before the last slash is a port's.
    let at = named.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = named[at..].split_once(':').map_or((named, None), |(name, tag)| (&named[..at + name.len()], Some(tag)));
    let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !repository.split('/').enumerate().all(|(n, part)| !part.is_empty() && part.chars().all(|c| word(c) || (n == 0 && c == ':'))) {
        return Err("no repository (letters, digits, `.`, `_`, `-`, parted by `/`)");
    }
    match tag {
        Some(tag) if tag.is_empty() || tag.len() > 128 || !tag.chars().all(word) => Err("no tag (letters, digits, `.`, `_`, `-`, at most 128)"),
        None if digest.is_none() => Err("without a tag or digest"),
        _ => Ok(()),
    }
}

/// Where a group of settings has `min`, `desired` and `max`, they must stand in that order.
fn crossed(settings: &BTreeMap<String, Value>, overrides: &BTreeMap<String, Value>) -> Vec<Refusal> {
    let number = |path: &str| settings.get(path).and_then(Value::as_i64);
    let mut out = Vec::new();
    for group in settings.keys().filter_map(|k| k.strip_suffix(".desired")) {
        let paths = ["min", "desired", "max"].map(|end| format!("{group}.{end}"));
        let (Some(min), Some(desired), Some(max)) = (number(&paths[0]), number(&paths[1]), number(&paths[2])) else { continue };
        if min <= desired && desired <= max {
            continue;
        }
        let Some(path) = paths.iter().find(|p| overrides.contains_key(*p)) else { continue };
        out.push(Refusal {
            path: path.clone(),
            message: format!("`{group}` would have min {min}, desired {desired}, max {max}: these must not cross"),
            hint: format!("override the others too: {}", paths.join(", ")),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_with_its_tag_or_digest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let good = [
            "mate:1".to_owned(),
            "localhost:5000/a/b:v1.2_x".to_owned(),
            format!("1.dkr.ecr.eu-central-1.amazonaws.com/mate@{digest}"),
            format!("mate:1@{digest}"),
        ];
        for text in good {
            assert_eq!(within(&Bound::Image, &Value::from(text.as_str())), Ok(()), "{text}");
        }
        let long = format!("{}:1", "m".repeat(511));
        for text in
            ["mate", "", ":1", "mate:", "mate@sha256:00", "mate@md5:0", "a b:1", "mate:1 ", "a//b:1", "/a:1", "localhost:5000/a", "${x}:1", "a:1:2", &long]
        {
            assert!(within(&Bound::Image, &Value::from(text)).is_err(), "{text}");
        }
    }
}
