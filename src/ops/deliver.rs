//! Lifecycle events, from the registry's outbox to their receivers: at least once, in order for each tenant and receiver, and with patience.
//!
//! A delivery that fails is tried again after a pause that grows, with some chance in it so that not all come back at once; after
//! [`ATTEMPTS`] it is given up, and what follows it goes on. Nothing waits for a receiver: after an operation one short attempt is made,
//! whose outcome nobody hears of but the outbox.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use secrecy::SecretString;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::error::OpError;
use super::site::Site;
use crate::cloud::Cloud;
use crate::cloud::webhook::{Caller, Message};
use crate::config::{Events, Webhook};
use crate::engine::fault::Fault;
use crate::registry::outbox::{Claim, Claimed};

/// A delivery is given up after so many attempts: about six hours, where something is delivered that often.
pub const ATTEMPTS: i32 = 15;
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long one receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same in the short attempt after an operation, and how long that may take in all.
const SHORT: Duration = Duration::from_secs(1);
const SHORT_IN_ALL: Duration = Duration::from_secs(2);

/// What a delivery run came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// Events that receivers took.
    pub delivered: usize,
    /// Those they did not take, to be tried again.
    pub failed: usize,
    /// Those given up now.
    pub dead: usize,
    /// Why, by receiver: the last fault of each.
    pub faults: BTreeMap<String, String>,
}

/// The names of a profile's receivers, as deliveries bear them.
pub fn receivers(events: &Events) -> Vec<String> {
    events.sns_topic_arn.iter().map(|_| SNS.to_owned()).chain(events.webhooks.iter().map(name)).collect()
}

const SNS: &str = "sns";

fn name(webhook: &Webhook) -> String {
    format!("webhook/{}", webhook.name)
}

/// Sends what is due; with `all`, also what is not due yet and what was given up. Each delivery is tried once.
///
/// # Errors
/// Those of reaching the registry. A receiver that takes nothing is a finding, not an error.
pub async fn deliver(site: &Site, all: bool) -> Result<Delivered, OpError> {
    run(site, all, PATIENCE, None).await
}

/// The short attempt after an operation. It takes two seconds at most, and nothing depends on it.
pub async fn shortly(site: &Site) {
    if receivers(&site.events).is_empty() {
        return;
    }
    match timeout(SHORT_IN_ALL, run(site, false, SHORT, Some(Instant::now() + SHORT_IN_ALL - SHORT))).await {
        Ok(Ok(done)) if done.faults.is_empty() => {}
        Ok(Ok(done)) => tracing::warn!("lifecycle events wait to be delivered: {:?}; `labctl events list --pending` lists them", done.faults),
        Ok(Err(e)) => tracing::warn!("lifecycle events could not be delivered: {e}"),
        Err(_) => tracing::warn!("lifecycle events wait to be delivered; `labctl events list --pending` lists them"),
    }
}

/// Every receiver by itself, so that a slow one keeps no other waiting. `until`: no further round is begun from then on.
async fn run(site: &Site, all: bool, patience: Duration, until: Option<Instant>) -> Result<Delivered, OpError> {
    let names = receivers(&site.events);
    let mut done = Delivered::default();
    if names.is_empty() {
        return Ok(done);
    }
    let since = site.registry.now().await?;
    let senders = Senders { cloud: &site.cx.cloud, events: &site.events, caller: Caller::default(), patience };
    let turns = names.iter().map(|name| senders.turn(site, Claim { receivers: std::slice::from_ref(name), all, since }, until));
    for turn in join_all(turns).await {
        let turn = turn?;
        done.delivered += turn.delivered;
        done.failed += turn.failed;
        done.dead += turn.dead;
        done.faults.extend(turn.faults);
    }
    Ok(done)
}

/// Until the next attempt; none when that was the last. `chance` is about 1.
fn pause(attempts: i32, chance: f64) -> Option<Duration> {
    let doubled = FIRST_PAUSE * 2u32.saturating_pow(u32::try_from(attempts - 1).unwrap_or_default().min(16));
    (attempts < ATTEMPTS).then(|| doubled.min(LONGEST_PAUSE).mul_f64(chance))
}

/// The ways out.
struct Senders<'a> {
    cloud: &'a Cloud,
    events: &'a Events,
    caller: Caller,
    patience: Duration,
}

impl Senders<'_> {
    /// All that is one receiver's: the tenants side by side, the events of each in order.
    async fn turn(&self, site: &Site, claim: Claim<'_>, until: Option<Instant>) -> Result<Delivered, OpError> {
        let (mut done, secret) = (Delivered::default(), OnceCell::new());
        while until.is_none_or(|until| Instant::now() < until) {
            let claimed = site.registry.claim_deliveries(&claim).await?;
            if claimed.is_empty() {
                break;
            }
            failpoint!("events.claimed");
            for (claimed, sent) in join_all(claimed.into_iter().map(|claimed| self.send(claimed, &secret))).await {
                match sent {
                    Ok(()) => {
                        failpoint!("events.sent", claimed.tenant);
                        site.registry.delivered(&claimed).await?;
                        failpoint!("events.recorded", claimed.tenant);
                        done.delivered += 1;
                    }
                    Err(fault) => {
                        let next = pause(claimed.attempts, rand::random_range(0.5..1.5));
                        site.registry.undelivered(&claimed, &fault.to_string(), next).await?;
                        *(if next.is_some() { &mut done.failed } else { &mut done.dead }) += 1;
                        done.faults.insert(claimed.receiver, fault.to_string());
                    }
                }
            }
        }
        Ok(done)
    }

    async fn send(&self, claimed: Claimed, secret: &OnceCell<SecretString>) -> (Claimed, Result<(), Fault>) {
        let sent = timeout(self.patience, self.to(&claimed, secret)).await;
        let late = || Err(Fault::unknown("labctl:Deliver", "timeout", format!("no answer within {:.1} s", self.patience.as_secs_f64())));
        (claimed, sent.unwrap_or_else(|_| late()))
    }

    /// The receiver's secret is fetched once in its turn.
    async fn to(&self, claimed: &Claimed, secret: &OnceCell<SecretString>) -> Result<(), Fault> {
        let (id, body) = (claimed.event.to_string(), claimed.body.to_string());
        let message = Message { id: &id, kind: &claimed.r#type, tenant: &claimed.tenant, body: &body };
        if let Some(topic) = self.events.sns_topic_arn.as_ref().filter(|_| claimed.receiver == SNS) {
            return self.cloud.publish(topic, &message).await;
        }
        let Some(webhook) = self.events.webhooks.iter().find(|w| name(w) == claimed.receiver) else {
            return Err(Fault::refused("labctl:Deliver", "no_receiver", "the profile names no such receiver"));
        };
        let secret = secret.get_or_try_init(|| self.cloud.secret_key(&webhook.secret_arn, "secret")).await?;
        self.caller.post(&webhook.url, secret, &message, chrono::Utc::now().timestamp(), self.patience).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_end() {
        let seconds: Vec<_> = (1..=ATTEMPTS).map(|n| pause(n, 1.0).map(|p| p.as_secs())).collect();
        let expected = [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600, 3600, 3600].map(Some).into_iter().chain([None]).collect::<Vec<_>>();
        assert_eq!(seconds, expected);
        assert_eq!(pause(1, 1.4), Some(Duration::from_secs(14)));
    }
}
