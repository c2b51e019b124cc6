//! Task definitions as things: of a family its newest revision. Those before it are its history, which services may still be rolled back to; but one
//! that was registered twice in a row, with the same content, is there twice.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::TaskDefinitionField;
use labctl::cloud::Cloud;

use super::aws::{pairs, unless_gone};

/// A revision.
pub struct Definition {
    pub arn: String,
    pub family: String,
    pub tags: BTreeMap<String, String>,
    number: i32,
}

impl Definition {
    /// Whether the next one replaces it: of the same owner, and with other content.
    fn is_former(&self, next: &Self) -> bool {
        let same = |key: &str| self.tags.get(key) == next.tags.get(key);
        same("labctl:address") && same("labctl:registry") && self.tags.contains_key("labctl:content") && !same("labctl:content")
    }
}

/// Those whose ARN is `near`.
pub async fn definitions(cloud: &Cloud, near: impl Fn(&str) -> bool) -> Vec<Definition> {
    let mut families: BTreeMap<String, Vec<Definition>> = BTreeMap::new();
    let mut pages = cloud.ecs.list_task_definitions().into_paginator().items().send();
    while let Some(arn) = pages.next().await {
        let arn = arn.unwrap();
        if !near(&arn) {
            continue;
        }
        let answer = cloud.ecs.describe_task_definition().task_definition(&arn).include(TaskDefinitionField::Tags).send().await;
        let Some(answer) = unless_gone(answer) else { continue };
        let Some(definition) = answer.task_definition() else { continue };
        let family = definition.family().unwrap_or_default().to_owned();
        let tags = pairs(answer.tags().iter().map(|t| (t.key(), t.value())));
        families.entry(family.clone()).or_default().push(Definition { arn, family, tags, number: definition.revision() });
    }
    let mut found = Vec::new();
    for mut revisions in families.into_values() {
        revisions.sort_by_key(|d| d.number);
        let former: Vec<bool> = revisions.windows(2).map(|two| two[0].is_former(&two[1])).chain([false]).collect();
        found.extend(revisions.into_iter().zip(former).filter_map(|(revision, former)| (!former).then_some(revision)));
    }
    found
}
