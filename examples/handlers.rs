//! A service with handlers in code: it mails for a shop. Start it, and publish an order:
//!
//!     CATALOG=commerce LOG_FORMAT=text cargo run --example handlers
//!     curl -s localhost:3007/api/events/publish -H 'content-type: application/json' \
//!       -d '{"topic":"order.created","data":{"orderId":"o-1","userId":"u-7","totalAmount":199.99}}'

use std::{error::Error, io, time::Duration};

use serde::Deserialize;
use streamgauge::handlers::{Event, Failure, Outcome, Service, Subscription, stop_signal};

/// What this service reads of `order.created`; what else the data has is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: String,
    user_id: String,
    total_amount: f64,
}

async fn confirm(event: Event<Order>) -> Result<(), Failure> {
    let order = &event.data;
    if order.total_amount <= 0.0 {
        // No further attempt would change that: a dead letter at once.
        return Err(Failure::refuse(format!("order {} costs nothing", order.order_id)));
    }
    // An error: the event is tried again, and is a dead letter when no attempts are left.
    mail(&order.user_id, event.attempt).await?;
    tracing::info!("order {} is confirmed, attempt {}", order.order_id, event.attempt);
    Ok(())
}

/// In place of a mail server: one that turns those whom it does not know away at first.
async fn mail(to: &str, attempt: u32) -> io::Result<()> {
    match to.starts_with("new-") && attempt == 1 {
        true => Err(io::Error::other("greylisted, try again later")),
        false => Ok(()),
    }
}

/// The group, and what it does with each type of event.
pub fn mails() -> Subscription {
    Subscription::new("mail-service-group")
        .on("order.created", confirm)
        .on("cart.abandoned", |event: Event| async move {
            if event.data["userId"].is_null() {
                // Nobody to write to: never again, and no dead letter.
                return Ok(Outcome::Drop);
            }
            tracing::info!("user {} is reminded of a cart", event.data["userId"]);
            Ok(Outcome::Done)
        })
        .concurrency(32)
        .timeout(Duration::from_secs(5))
        .max_retries(5)
        .from_earliest()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    Service::from_env()?.with_log_lines()?.subscribe(mails()).run(stop_signal()).await?;
    Ok(())
}
