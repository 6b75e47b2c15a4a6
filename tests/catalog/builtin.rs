//! The settings of the built-in catalogues' topics, and which of them run side by side. What their rules do is tried by the
//! target `embedded` with an example of each event type.

use std::collections::BTreeMap;

use streamgauge::catalog::{
    CatalogChoice, CatalogError,
    plan::{Catalog, Compression, IdentityPart, Priority, Topic},
};

fn load(names: &[&str]) -> Result<Catalog, CatalogError> {
    Catalog::load(&CatalogChoice { names: names.iter().map(ToString::to_string).collect(), path: None })
}

/// Topics of each key and shapes, with what is not as most are.
fn shown(catalog: &Catalog) -> String {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for topic in &catalog.topics {
        let fields = |slots: &[u16]| slots.iter().map(|slot| topic.field(*slot)).collect::<Vec<_>>().join(" ");
        let shapes: Vec<_> = topic.shapes.iter().map(|shape| shape.name()).collect();
        assert_eq!(topic.identity, [IdentityPart::Id], "{}", topic.name);
        let line = format!("{} {}", fields(&topic.key), shapes.join("|"));
        lines.entry(line).or_default().push(format!("{}{}", topic.name, unusual(topic)));
    }
    lines.into_iter().map(|(line, topics)| format!("{line}: {}\n", topics.join(" "))).collect()
}

fn unusual(topic: &Topic) -> String {
    const DAY_MS: i64 = 86_400_000;
    let mut words = Vec::new();
    words.extend((topic.priority != Priority::Normal).then(|| format!("{:?}", topic.priority)));
    words.extend((topic.partitions != 6).then(|| topic.partitions.to_string()));
    words.extend((topic.retention_ms != 7 * DAY_MS).then(|| format!("{}d", topic.retention_ms / DAY_MS)));
    words.extend((topic.compression == Some(Compression::Gzip)).then(|| "gzip".to_owned()));
    if words.is_empty() { String::new() } else { format!("({})", words.join(",")) }
}

#[test]
fn topics_have_the_settings_that_they_are_said_to() {
    for (name, topics, expected) in [
        (
            "commerce",
            28,
            "\
cartId nested: cart.item_added cart.item_removed cart.abandoned cart.updated
orderId nested: order.created order.confirmed(High) order.shipped order.delivered order.cancelled order.status_changed
paymentId nested: payment.initiated payment.succeeded(High) payment.failed(Critical) payment.refunded payment.refund_failed(Critical)
productId nested: product.created product.updated product.deleted product.price_changed inventory.updated inventory.reserved inventory.released inventory.stock_low
userId nested: user.registered user.updated user.deleted user.address_added user.wishlist_updated
",
        ),
        (
            "social",
            8,
            "\
postId nested|flat: post-events
userId nested|flat: user-events notification-events transaction-events analytics-events email-events sms-events
videoId nested|flat: video-processing
",
        ),
        (
            "creator",
            18,
            "\
mediaId bare: media.uploaded media.deleted media.processed
paymentId bare: payment.completed payment.failed payment.tip.sent payment.post.purchased
postId bare: content.post.created content.post.updated content.post.deleted content.post.liked content.post.unliked content.comment.created
subscriptionId bare: subscription.created subscription.updated subscription.cancelled
tierId bare: subscription.tier.created subscription.tier.updated
",
        ),
        (
            "live",
            9,
            "\
channelId wide: channel.events(3,gzip) chat.events(3,gzip) moderation.events(3,gzip)
source wide: system.events(3,1d,gzip)
streamId wide: stream.events(3,gzip)
userId wide: user.events(3,gzip) payment.events(3,gzip) analytics.events(3,gzip) notification.events(3,gzip)
",
        ),
    ] {
        let catalog = load(&[name]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((catalog.topics.len(), shown(&catalog)), (topics, expected.to_owned()), "{name}");
        let sensitive = |topic: &Topic| topic.sensitive.iter().map(|slot| topic.field(*slot)).collect::<Vec<_>>().join(" ");
        let expected = if name == "social" { "phone email otp amount" } else { "" };
        assert!(catalog.topics.iter().all(|topic| sensitive(topic) == expected), "{name}");
    }
}

#[test]
fn catalogues_run_side_by_side_unless_they_share_a_topic() {
    let names = ["video", "commerce", "social", "creator", "live"];
    for first in names {
        for second in names {
            match load(&[first, second]) {
                Ok(catalog) => assert_eq!(catalog.names.len(), if first == second { 1 } else { 2 }),
                Err(error) => {
                    assert!(matches!((first, second), ("commerce", "creator") | ("creator", "commerce")), "{error}");
                    let message = format!(
                        "topic `payment.failed` of catalogue `{second}` is already in catalogue `{first}` (builtin/{first}.toml:"
                    );
                    assert!(error.to_string().contains(&message), "{error}");
                    assert!(error.to_string().contains("has 1 findings"), "nothing else is in the way: {error}");
                }
            }
        }
    }
    let most = load(&["video", "commerce", "social", "live"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(most.topics.len(), 5 + 28 + 8 + 9);
}
