//! How a resource that differs is shown, of one tenant or of many.

use serde::Serialize;

use super::output::Row;
use crate::engine::kind::Address;
use crate::plan::drift::{Difference, Drifted, Field};

/// One resource that differs.
#[derive(Serialize)]
pub(super) struct DriftLine<'a> {
    address: &'a Address,
    drift: Drifted,
    fields: &'a [Field],
    detail: Option<&'a str>,
}

impl<'a> DriftLine<'a> {
    pub(super) fn of(difference: &'a Difference) -> Self {
        Self { address: &difference.address, drift: difference.drift, fields: &difference.fields, detail: difference.detail.as_deref() }
    }

    /// In which way, a line for each.
    pub(super) fn ways(&self) -> Vec<String> {
        let fields = self.fields.iter().map(|f| format!("{}: is {}, should be {}", f.field, f.is, f.should_be));
        fields.chain(self.detail.map(ToOwned::to_owned)).collect()
    }

    pub(super) fn resource(&self) -> String {
        format!("{}/{}", self.address.kind, self.address.name)
    }

    pub(super) fn how(&self) -> &'static str {
        self.drift.as_str()
    }
}

impl Row for DriftLine<'_> {
    const COLUMNS: &'static [&'static str] = &["drift", "resource", "how"];

    fn cells(&self) -> Vec<String> {
        vec![self.how().to_owned(), self.resource(), self.ways().join("\n")]
    }
}
