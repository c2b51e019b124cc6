//! CreateService of a name that is taken is refused, unless it is the same request again (by its clientToken).

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Next;
use super::ecs_services::{self, ECS};
use super::wire::{Sent, json_error, members, refill, respond, target};

/// Looking and creating are two calls, so one at a time.
#[derive(Debug, Default)]
pub(super) struct Mend(Mutex<()>);

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, mut request: HttpRequest, next: Next<'_>) -> Sent {
        if target(&request) != format!("{ECS}.CreateService") {
            return next.send(request).await;
        }
        let _one = self.0.lock().await;
        let mut asked = members(&request);
        let (cluster, name) = ecs_services::place(&asked, "serviceName");
        let found =
            next.wire.json("ecs", &format!("{ECS}.DescribeServices"), &json!({"cluster": cluster, "services": [name], "include": ["TAGS"]})).await?.json();
        let existing = &found["services"][0];
        let mut kept = ecs_services::recall(next.wire, &cluster, &name).await;
        if existing["status"] == "ACTIVE" {
            if asked["clientToken"].is_string() && kept["clientToken"] == asked["clientToken"] {
                return respond(200, "application/x-amz-json-1.1", json!({"service": existing}).to_string().into_bytes());
            }
            return json_error(400, "InvalidParameterException", "Creation of service was not idempotent.");
        }
        // Kept before the call: should we be killed in between, there is a note about a service that is not there, which harms nothing.
        kept = json!({"clientToken": asked["clientToken"]});
        ecs_services::note(&mut kept, &asked);
        kept["unpullable"] = ecs_services::unpullable(next.wire, &asked["taskDefinition"]).await?.map_or(Value::Null, |(_, image)| image.into());
        ecs_services::keep(next.wire, &cluster, &name, &kept).await?;
        let network = &mut asked["networkConfiguration"]["awsvpcConfiguration"];
        if network.is_object() && network["securityGroups"].is_null() {
            network["securityGroups"] = json!([]);
            refill(&mut request, asked.to_string().into_bytes());
        }
        next.send(request).await
    }
}
