//! Deliveries as the configuration asks for them.

use std::{collections::BTreeMap, sync::Arc};

use super::{AppError, Engine, Parts, courier::HttpCourier, engine::fetch_limits};
use crate::{
    catalog::{
        nearest,
        plan::{Catalog, Topic},
    },
    config::{Config, DeliveryMode, OffsetReset, PostConfig, RetryConfig, SubscriptionConfig},
    core::delivery::{Filter, Mode, Retry, signature},
    log::Log,
    runtime::{
        self,
        delivery::{Courier, Delivery, DeliveryParts, Subscription},
        schemas::Schemas,
    },
};

/// Into how many parts `KAFKA_FETCH_MAX_BYTES` goes, of which each group holds one: they wait for their targets more than for
/// the log.
const FETCH_PARTS: usize = 4;

/// Who hands events to the handlers of this process, by group.
pub type Handlers = BTreeMap<String, Arc<dyn Courier>>;

/// The topics of each subscription, in order.
///
/// # Errors
/// Every topic and type that no catalogue has, with the nearest.
pub fn topics_of(config: &Config, catalog: &Catalog) -> Result<Vec<Vec<Arc<Topic>>>, Vec<String>> {
    let mut problems = Vec::new();
    let topics = config.subscriptions.iter().map(|subscription| topics(subscription, catalog, &mut problems)).collect();
    if problems.is_empty() { Ok(topics) } else { Err(problems) }
}

/// The group of each subscription and its topics, as far as these catalogues have them: a process that delivers nothing may know
/// others.
pub(super) fn known_topics_of<'c>(
    config: &'c Config,
    catalog: &'c Catalog,
) -> impl Iterator<Item = (&'c str, Vec<Arc<Topic>>)> {
    let known = |subscription: &'c SubscriptionConfig| topics(subscription, catalog, &mut Vec::new());
    config.subscriptions.iter().map(move |subscription| (&*subscription.group, known(subscription)))
}

fn topics(subscription: &SubscriptionConfig, catalog: &Catalog, problems: &mut Vec<String>) -> Vec<Arc<Topic>> {
    let mut refuse = |what: &str, name: &str, known: &mut dyn Iterator<Item = &str>| {
        let hint = nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let group = &subscription.group;
        problems
            .push(format!("subscription {group} names the {what} {name:?}, which its catalogues do not have{hint}"));
    };
    let all = || catalog.topics.iter();
    for name in subscription.topics.iter().filter(|name| catalog.topic(name).is_none()) {
        refuse("topic", name, &mut all().map(|topic| &*topic.name));
    }
    let is_chosen = |topic: &&Arc<Topic>| {
        subscription.topics.is_empty() || subscription.topics.iter().any(|name| **name == *topic.name)
    };
    let chosen: Vec<&Arc<Topic>> = all().filter(is_chosen).collect();
    for name in &subscription.types {
        if !chosen.iter().any(|topic| topic.event_type(name).is_some()) {
            let mut known = chosen.iter().flat_map(|topic| &topic.events).map(|event| &*event.name);
            refuse("event type", name, &mut known);
        }
    }
    let types = &subscription.types;
    let has_one = |topic: &&Arc<Topic>| types.is_empty() || types.iter().any(|name| topic.event_type(name).is_some());
    chosen.into_iter().filter(has_one).cloned().collect()
}

/// The deliveries, not yet started; `None` where there are none here.
///
/// # Errors
/// A subscription names what no catalogue has, or its URL is none.
pub fn delivery(
    config: &Config,
    catalog: &Catalog,
    parts: &Parts,
    engine: &Engine,
    mut handlers: Handlers,
) -> Result<Option<Arc<Delivery>>, AppError> {
    if !config.roles.deliver || config.subscriptions.is_empty() {
        return Ok(None);
    }
    let topics = topics_of(config, catalog).map_err(AppError::Subscriptions)?;
    let mut subscriptions = Vec::with_capacity(topics.len());
    for (wanted, topics) in config.subscriptions.iter().zip(topics) {
        let way = match &wanted.post {
            Some(post) => posted(wanted, post)?,
            None => handled(wanted, handlers.remove(&wanted.group))?,
        };
        subscriptions.push(subscription(config, wanted, topics, way, parts.reader()));
    }
    let membership = &engine.counting.membership;
    let most = config.kafka.fetch_max_bytes / FETCH_PARTS;
    let schemas = parts.registry.as_ref().map(|registry| Arc::clone(registry) as Arc<dyn Schemas>);
    let parts = DeliveryParts {
        log: Arc::clone(&parts.log),
        store: Arc::clone(&parts.store),
        producer: Arc::clone(&engine.producer),
        routing: Arc::clone(&engine.routing),
        health: Arc::clone(&engine.health),
        schemas,
        limits: fetch_limits(config),
        fetch_max_bytes: most.max(usize::try_from(config.kafka.fetch_max_partition_bytes).unwrap_or_default()),
        me: (Arc::clone(&membership.me), membership.host.clone()),
        session_timeout: config.counting.session_timeout,
        heartbeat_interval: config.counting.heartbeat_interval,
    };
    Ok(Some(Delivery::new(parts, subscriptions)))
}

/// How a subscription's events go to whoever takes them.
struct Way {
    mode: Mode,
    key: Option<Vec<u8>>,
    target: String,
    courier: Arc<dyn Courier>,
}

fn posted(wanted: &SubscriptionConfig, post: &PostConfig) -> Result<Way, AppError> {
    let courier =
        HttpCourier::new(&post.url, wanted.timeout, wanted.concurrency).map_err(|why| refused(wanted, &why))?;
    Ok(Way {
        mode: match post.mode {
            DeliveryMode::Binary => Mode::Binary,
            DeliveryMode::Structured => Mode::Structured,
            DeliveryMode::Batch(most) => Mode::Batch(most),
        },
        // Validated with the configuration.
        key: post.secret.as_ref().and_then(|secret| signature::key_of(secret.reveal())),
        target: courier.target(),
        courier: Arc::new(courier),
    })
}

/// Each group of handlers is a target of its own: one that is slow says nothing of another.
fn handled(wanted: &SubscriptionConfig, courier: Option<Arc<dyn Courier>>) -> Result<Way, AppError> {
    let courier = courier.ok_or_else(|| refused(wanted, "it has neither a url nor handlers"))?;
    Ok(Way { mode: Mode::Binary, key: None, target: format!("handlers of {}", wanted.group), courier })
}

fn refused(wanted: &SubscriptionConfig, why: &str) -> AppError {
    AppError::Subscriptions(vec![format!("subscription {}: {why}", wanted.group)])
}

fn subscription(
    config: &Config,
    wanted: &SubscriptionConfig,
    topics: Vec<Arc<Topic>>,
    way: Way,
    log: Arc<dyn Log>,
) -> Subscription {
    let retries: BTreeMap<Arc<str>, Retry> =
        topics.iter().map(|topic| (Arc::clone(&topic.name), retry(config, wanted, topic))).collect();
    Subscription {
        group: wanted.group.clone(),
        topics,
        filter: Filter {
            types: wanted.types.clone(),
            priorities: wanted.priorities.clone(),
            data: wanted.data.clone(),
        },
        mode: way.mode,
        concurrency: wanted.concurrency,
        unfinished: wanted.unfinished,
        start: match wanted.start {
            OffsetReset::Earliest => runtime::OffsetReset::Earliest,
            OffsetReset::Latest => runtime::OffsetReset::Latest,
        },
        key: way.key,
        retries,
        target: way.target,
        courier: way.courier,
        log,
    }
}

/// When an event of a topic is tried again: what the subscription says, else its topic, else the settings.
fn retry(config: &Config, subscription: &SubscriptionConfig, topic: &Topic) -> Retry {
    let RetryConfig { max, initial_ms, factor, max_delay_ms } = subscription.retry;
    let (all, otherwise) = (config.retry, Retry::default());
    Retry {
        max: max.or(topic.retry.max).or(all.max).unwrap_or(otherwise.max),
        initial_ms: initial_ms.or(topic.retry.initial_ms).or(all.initial_ms).unwrap_or(otherwise.initial_ms),
        factor: factor.or(topic.retry.factor).or(all.factor).unwrap_or(otherwise.factor),
        max_delay_ms: max_delay_ms.or(topic.retry.max_delay_ms).or(all.max_delay_ms).unwrap_or(otherwise.max_delay_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{self, CatalogChoice, Source},
        config::{Environment, load},
    };

    /// What holds for topic `t`, whose catalogue, whose subscription and for which the environment say this.
    fn of(topic: &str, subscription: &str, environment: &[(&str, &str)]) -> Retry {
        let text = format!("name = \"c\"\n[[topic]]\nname = \"t\"\n{topic}\n[[topic.event]]\ntype = \"e\"\n");
        let catalog = catalog::compile(&[Source { file: "c.toml".to_owned(), text }]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("[[subscription]]\ngroup = \"g\"\ntopics = \"t\"\nurl = \"http://host\"\n{subscription}\n");
        std::fs::write(file.path(), text).unwrap();
        let environment: Environment =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let config = load(&environment, Some(file.path())).unwrap().config;
        retry(&config, &config.subscriptions[0], &catalog.topics[0])
    }

    #[test]
    fn of_subscription_topic_and_settings_the_nearest_says_each_for_itself() {
        let all =
            [("MAX_RETRIES", "1"), ("RETRY_INITIAL_MS", "10"), ("RETRY_FACTOR", "1.5"), ("RETRY_MAX_DELAY_MS", "100")];
        let topic = "max_retries = 2\nretry = { initial_ms = 20, factor = 2, max_delay_ms = 200 }";
        let subscription = "retry = { max = 3, initial_ms = 30, factor = 3.5, max_delay_ms = 300 }";
        let some = "retry = { factor = 3.5 }";
        let expect = |max, initial_ms, factor, max_delay_ms| Retry { max, initial_ms, factor, max_delay_ms };
        for (topic, subscription, environment, expected) in [
            ("", "", &[][..], Retry::default()),
            ("", "", &all, expect(1, 10, 1.5, 100)),
            (topic, "", &all, expect(2, 20, 2.0, 200)),
            (topic, subscription, &all, expect(3, 30, 3.5, 300)),
            (topic, some, &all, expect(2, 20, 3.5, 200)),
            ("retry = { initial_ms = 20 }", some, &all, expect(1, 20, 3.5, 100)),
            ("max_retries = 0", some, &[], expect(0, 5_000, 3.5, 300_000)),
        ] {
            assert_eq!(of(topic, subscription, environment), expected, "{topic} / {subscription} / {environment:?}");
        }
    }

    #[test]
    fn events_of_the_video_catalogue_are_tried_ten_times_more() {
        let catalog = Catalog::load(&CatalogChoice::default()).unwrap();
        assert!(catalog.topics.iter().all(|topic| topic.retry.max == Some(10)), "{:?}", catalog.topics);
    }
}
