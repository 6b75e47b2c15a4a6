// What Kafka's own Java client does with the embedded broker: run as `java -cp 'jars/*' JavaClient.java BROKER TOPIC COUNT`,
// where the topic holds COUNT records that another client has produced. Ends with an exception at the first surprise.

import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

public class JavaClient {
    static final String TOPIC = "java";
    static final TopicPartition PARTITION = new TopicPartition(TOPIC, 0);
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    static final int EACH = 200;
    static final Duration DEADLINE = Duration.ofSeconds(30);

    static Map<String, Object> config(String broker, Object... more) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", broker);
        for (int at = 0; at < more.length; at += 2) config.put((String) more[at], more[at + 1]);
        return config;
    }

    static void check(boolean holds, String what) {
        if (!holds) throw new IllegalStateException(what);
    }

    static void refused(Class<?> expected, org.apache.kafka.common.KafkaFuture<?> future) throws Exception {
        try {
            future.get();
        } catch (ExecutionException error) {
            check(expected.isInstance(error.getCause()), "refused with " + error.getCause());
            return;
        }
        throw new IllegalStateException("not refused with " + expected);
    }

    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        try (Admin admin = Admin.create(config(broker))) {
            produceAndRead(broker, admin);
            readOthers(broker, arguments[1], Integer.parseInt(arguments[2]));
            administer(broker, admin);
        }
        System.out.println("the Java client is content");
    }

    static void produceAndRead(String broker, Admin admin) throws Exception {
        admin.createTopics(List.of(new NewTopic(TOPIC, 2, (short) 1).configs(Map.of("retention.ms", "3600000")))).all().get();
        List<String> sent = new ArrayList<>();
        for (String codec : CODECS) {
            // Idempotent and acks=all, as it is by itself.
            try (var producer = new KafkaProducer<>(config(broker, "compression.type", codec), new StringSerializer(), new StringSerializer())) {
                for (int n = 0; n < EACH; n++) {
                    String value = codec + " " + n + " " + "x".repeat(n);
                    sent.add(value);
                    producer.send(new ProducerRecord<>(TOPIC, 0, 1_000_000L + sent.size(), "key", value));
                }
                producer.flush();
            }
        }
        var of = config(broker, "group.id", "java-readers", "enable.auto.commit", "false", "auto.offset.reset", "none");
        try (var consumer = new KafkaConsumer<>(of, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(PARTITION));
            consumer.seekToBeginning(List.of(PARTITION));
            check(read(consumer, sent.size()).equals(sent), "what was read is not what was sent");
            consumer.commitSync();
        }
        try (var consumer = new KafkaConsumer<>(of, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(PARTITION));
            var committed = consumer.committed(Set.of(PARTITION)).get(PARTITION);
            check(committed.offset() == sent.size(), "committed " + committed);
            check(consumer.position(PARTITION) == sent.size(), "it begins where it has committed");
            var found = consumer.offsetsForTimes(Map.of(PARTITION, 1_000_301L)).get(PARTITION);
            check(found.offset() == 300 && found.timestamp() == 1_000_301L, "a time was found at " + found);
            check(consumer.offsetsForTimes(Map.of(PARTITION, 9_000_000L)).get(PARTITION) == null, "a time behind the end");
        }
        // What a client does that wants to be a member: it is told, and does not wait for ever.
        try (var consumer = new KafkaConsumer<>(of, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(TOPIC));
            consumer.poll(DEADLINE);
            throw new IllegalStateException("it became a member");
        } catch (UnsupportedVersionException expected) {
        }
        var transactional = config(broker, "transactional.id", "tx", "max.block.ms", "20000");
        try (var producer = new KafkaProducer<>(transactional, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            throw new IllegalStateException("transactions were begun");
        } catch (TimeoutException error) {
            throw new IllegalStateException("transactions are not refused at once", error);
        } catch (KafkaException expected) {
        }
    }

    static List<String> read(KafkaConsumer<String, String> consumer, int count) {
        List<String> values = new ArrayList<>();
        long until = System.nanoTime() + DEADLINE.toNanos();
        while (values.size() < count && System.nanoTime() < until) {
            for (var record : consumer.poll(Duration.ofMillis(200))) {
                check(record.offset() == values.size(), "offset " + record.offset() + " after " + values.size());
                values.add(record.value());
            }
        }
        return values;
    }

    static void readOthers(String broker, String topic, int count) {
        try (var consumer = new KafkaConsumer<>(config(broker), new StringDeserializer(), new StringDeserializer())) {
            var partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            check(read(consumer, count).size() == count, "not all of the others' records came");
        }
    }

    static void administer(String broker, Admin admin) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
        check(settings(admin, resource).get("retention.ms").value().equals("3600000"), "a setting given at creation");
        var set = new AlterConfigOp(new ConfigEntry("max.message.bytes", "2000000"), AlterConfigOp.OpType.SET);
        var back = new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(set, back))).all().get();
        check(settings(admin, resource).get("max.message.bytes").value().equals("2000000"), "a setting that was changed");
        check(settings(admin, resource).get("retention.ms").isDefault(), "a setting that was taken back");
        var unknown = new AlterConfigOp(new ConfigEntry("flush.ms", "1"), AlterConfigOp.OpType.SET);
        refused(InvalidConfigurationException.class, admin.incrementalAlterConfigs(Map.of(resource, List.of(unknown))).all());

        int all = CODECS.length * EACH;
        check(offset(admin, OffsetSpec.latest()) == all, "the end");
        check(offset(admin, OffsetSpec.maxTimestamp()) == all - 1, "the greatest time");
        admin.deleteRecords(Map.of(PARTITION, RecordsToDelete.beforeOffset(100))).all().get();
        check(offset(admin, OffsetSpec.earliest()) == 100, "the start after deleting records");
        admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(3))).all().get();
        check(admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC).partitions().size() == 3, "more partitions");
        var node = admin.describeCluster().nodes().get().iterator().next();
        var dirs = admin.describeLogDirs(List.of(node.id())).allDescriptions().get().get(node.id()).values();
        check(dirs.iterator().next().replicaInfos().get(PARTITION).size() > 0, "bytes on the disk");
        check(admin.listGroups().all().get().iterator().next().groupId().equals("java-readers"), "the group is listed");
        var committed = admin.listConsumerGroupOffsets("java-readers").partitionsToOffsetAndMetadata().get();
        check(committed.get(PARTITION).offset() == all, "the group's offsets");
        admin.deleteConsumerGroups(List.of("java-readers")).all().get();
        Uuid id = admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC).topicId();
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        refused(UnknownTopicIdException.class, admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds());
    }

    static org.apache.kafka.clients.admin.Config settings(Admin admin, ConfigResource resource) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource);
    }

    static long offset(Admin admin, OffsetSpec spec) throws Exception {
        return admin.listOffsets(Map.of(PARTITION, spec)).all().get().get(PARTITION).offset();
    }
}
