//! The shop of the story: what is sold, who gets it, and what somebody types.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{cell::Cell, collections::BTreeMap};

use serde_json::{Value, json};

use crate::{
    place::{Place, ready},
    support::{
        process::Process,
        replays::run,
        target::{Got, Target},
    },
};

const CATALOG: &str = include_str!("../../src/catalog/builtin/commerce.toml");
const CONFIG: &str = include_str!("../../examples/commerce.toml");
/// The services that want orders, and where the example says that they are.
pub const SERVICES: [(&str, u16); 4] = [
    ("notification-service-group", 9001),
    ("analytics-service-group", 9002),
    ("inventory-service-group", 9005),
    (PAYMENT, 9006),
];
/// The one with the bug.
pub const PAYMENT: &str = "payment-service-group";
pub const ORDERS: usize = 2_400;
pub const CUSTOMERS: usize = 60;
/// Each order of so many has a discount.
const DISCOUNT_EVERY: usize = 12;
/// Attempts that the payment service gets for an order.
pub const ATTEMPTS: usize = 3;
/// The topics of the example's subscriptions; the catalogue's others would only be made.
const TOPICS: [&str; 4] = ["order.created", "order.confirmed", "payment.succeeded", "cart.abandoned"];
/// Whoever was killed may have been sending for so long, and five seconds more.
const SETTINGS: [(&str, &str); 1] = [("KAFKA_REQUEST_TIMEOUT_MS", "2000")];

pub fn id(number: usize) -> String {
    format!("o-{number}")
}

pub fn has_discount(number: usize) -> bool {
    number.is_multiple_of(DISCOUNT_EVERY)
}

pub fn discounted() -> impl Iterator<Item = usize> {
    (0..ORDERS).filter(|number| has_discount(*number))
}

/// The data of an order.
pub fn order(number: usize) -> Value {
    let user = format!("u-{}", number % CUSTOMERS);
    let mut data = json!({ "orderId": number.to_string(), "userId": user, "totalAmount": 19.95 });
    if has_discount(number) {
        data["discount"] = json!("SPRING");
    }
    data
}

/// The shop: its topic, its services, and what a process is started with.
pub struct Shop {
    pub place: Place,
    pub topic: String,
    config: String,
    services: BTreeMap<&'static str, Target>,
}

impl Shop {
    /// Topics of its own; all else is as it is shipped, but for where the services are and how long the payment service is waited for.
    pub async fn open() -> Self {
        let mut place = Place::own_topics();
        let own = |text: &str| {
            text.replace("\n[[topic]]\nname = \"", &format!("\n[[topic]]\nname = \"{}", place.topic_prefix))
        };
        let catalog = own(CATALOG);
        place.write_catalog(&catalog);
        let mut config = CONFIG.replace("catalog = [\"commerce\"]", "");
        for topic in TOPICS {
            config = config.replace(&format!("\"{topic}\""), &format!("\"{}{topic}\"", place.topic_prefix));
        }
        let mut services = BTreeMap::new();
        for (group, port) in SERVICES {
            let service = Target::start().await;
            let mut url = format!("\"{}\"", service.url());
            if group == PAYMENT {
                url += &format!("\nretry = {{ max = {}, initial_ms = 50, max_delay_ms = 200 }}", ATTEMPTS - 1);
            }
            config = config.replace(&format!("\"http://127.0.0.1:{port}/events\""), &url);
            services.insert(group, service);
        }
        let path = place.folder.path().join("commerce.toml").to_str().unwrap().to_owned();
        std::fs::write(&path, config).unwrap();
        let topic = format!("{}order.created", place.topic_prefix);
        Self { place, topic, config: path, services }
    }

    /// A process whose services get what comes from now on.
    pub async fn start(&self) -> (Process, String) {
        let topics = TOPICS.map(|topic| format!("{}{topic}", self.place.topic_prefix)).join(",");
        let mut settings = SETTINGS.to_vec();
        settings.push(("TOPICS", &topics));
        settings.push(("CONFIG_FILE", &self.config));
        let mut process = self.place.start(&settings);
        ready(&mut process).await;
        process
            .until("all groups have begun", async |process| {
                let (_, answer) = process.get("/api/deliveries").await;
                let begun = |group: &str| {
                    let shown = answer["data"].as_array()?.iter().find(|shown| shown["group"] == group)?;
                    let of_orders = |partition: &&Value| partition["topic"] == self.topic.as_str();
                    Some(shown["partitions"].as_array()?.iter().filter(of_orders).count())
                };
                SERVICES.iter().all(|(group, _)| begun(group) == Some(6)).then_some(())
            })
            .await;
        let url = process.url().await;
        (process, url)
    }

    pub fn payment(&self) -> &Target {
        &self.services[PAYMENT]
    }

    /// Sells: the orders of a customer have one key, and those of every fifth are urgent.
    pub async fn sell(&self, process: &Process, numbers: std::ops::Range<usize>) {
        let event = |number: usize| {
            let customer = number % CUSTOMERS;
            let priority = if customer.is_multiple_of(5) { "high" } else { "normal" };
            json!({ "eventId": id(number), "key": format!("c-{customer}"), "priority": priority, "data": order(number) })
        };
        for numbers in numbers.collect::<Vec<_>>().chunks(400) {
            let events: Vec<Value> = numbers.iter().map(|number| event(*number)).collect();
            let body = json!({ "topic": self.topic, "events": events });
            let (status, answer) = process.post("/api/events/publish-batch", &body).await;
            assert_eq!(status, 200, "{}", answer["message"]);
        }
    }

    /// The orders that a service holds, and how often it took each.
    pub fn held(&self, group: &str) -> BTreeMap<String, (Value, usize)> {
        let mut held: BTreeMap<String, (Value, usize)> = BTreeMap::new();
        for got in self.services[group].got().into_iter().filter(|got| got.is_taken) {
            for (id, data) in events_of(&got) {
                let (first, times) = held.entry(id).or_insert_with(|| (data.clone(), 0));
                assert_eq!(*first, data, "{group} got two orders of one id");
                *times += 1;
            }
        }
        held
    }

    /// Waits until services hold so many orders.
    pub async fn hold(&self, process: &mut Process, groups: &[&str], orders: usize) {
        for group in groups {
            let what = format!("{group} holds {orders} orders");
            // What it holds is counted only after something came: that is read anew each time.
            let seen = Cell::new(0);
            let service = &self.services[group];
            let is_new = || seen.replace(service.requests()) != service.requests();
            process.until(&what, async |_| (is_new() && self.held(group).len() == orders).then_some(())).await;
        }
    }

    /// A command about the dead letters of orders, as it is typed.
    pub async fn dlq(&self, url: &str, command: &str, options: &[&str]) -> (Option<i32>, String) {
        run(url, &[&["dlq", command, &self.topic], options].concat()).await
    }
}

/// The events of a request, one or a batch of them: ids and data.
pub fn events_of(got: &Got) -> Vec<(String, Value)> {
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    match body.as_array() {
        Some(events) => {
            events.iter().map(|event| (event["id"].as_str().unwrap().to_owned(), event["data"].clone())).collect()
        }
        None => vec![(got.id.clone(), body)],
    }
}
