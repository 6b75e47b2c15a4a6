import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own client for the integration tests: it writes what ours cannot (transactions, topic settings) and is the judge
 * of what a log holds (read_committed).
 *
 * Started with the brokers as its argument. Each line of the input is a command as JSON, {"do": …}; each is answered by a
 * line, {"error": …} where it failed. Bytes are in hex, null stays null. It ends with its input.
 */
public final class LogClient {
    private static final HexFormat HEX = HexFormat.of();
    private static final ObjectMapper JSON = new ObjectMapper();
    /** Longest wait for one answer of the brokers, leaders that are killed included. */
    private static final int DELIVERY_MS = 120_000;

    private final String brokers;
    private final Admin admin;
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private final Set<String> open = new HashSet<>();
    private final AtomicInteger acknowledged = new AtomicInteger();
    private final AtomicInteger failed = new AtomicInteger();
    private volatile String failure = "";
    private Thread numbering;

    private LogClient(String brokers) {
        this.brokers = brokers;
        // A broker that was killed is asked again soon.
        admin = Admin.create(Map.of("bootstrap.servers", brokers, "reconnect.backoff.max.ms", "200"));
    }

    public static void main(String[] arguments) throws Exception {
        var client = new LogClient(arguments[0]);
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                client.run(JSON.readTree(line), answer);
            } catch (Exception error) {
                answer.put("error", error.toString());
            }
            System.out.println(answer);
        }
        // Threads of clients that still look for brokers must not keep the process.
        Runtime.getRuntime().halt(0);
    }

    private void run(JsonNode command, ObjectNode answer) throws Exception {
        switch (command.get("do").asText()) {
            case "create" -> create(command);
            case "delete" -> admin.deleteTopics(List.of(command.get("topic").asText())).all().get();
            case "write" -> write(command, answer);
            case "dump" -> dump(command, answer);
            case "ends" -> ends(command, answer);
            case "delete-records" -> deleteRecords(command);
            case "leaders" -> leaders(command, answer);
            case "number" -> number(command);
            case "numbered" -> numbered(answer);
            default -> throw new IllegalArgumentException("no such command: " + command);
        }
    }

    private void create(JsonNode command) throws Exception {
        Map<String, String> configs = new HashMap<>();
        command.path("configs").properties().forEach(entry -> configs.put(entry.getKey(), entry.getValue().asText()));
        var topic = new NewTopic(
                command.get("topic").asText(),
                Optional.of(command.get("partitions").asInt()),
                Optional.of((short) command.path("replication").asInt(1)));
        admin.createTopics(List.of(topic.configs(configs))).all().get();
    }

    /** Records of one partition, as one batch where they fit. With an "id" in a transaction; "end" is open, commit or abort. */
    private void write(JsonNode command, ObjectNode answer) throws Exception {
        JsonNode id = command.path("id");
        String compression = command.get("compression").asText();
        var producer = producer(id.isTextual() ? id.asText() : null, compression);
        if (id.isTextual() && open.add(id.asText() + "/" + compression)) {
            producer.beginTransaction();
        }
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode record : command.get("records")) {
            var time = record.get("time");
            var out = new ProducerRecord<>(
                    command.get("topic").asText(),
                    command.get("partition").asInt(),
                    time == null || time.isNull() ? null : (Long) time.asLong(),
                    bytes(record.get("key")),
                    bytes(record.get("value")));
            for (JsonNode header : record.path("headers")) {
                out.headers().add(header.get(0).asText(), bytes(header.get(1)));
            }
            sent.add(producer.send(out));
        }
        producer.flush();
        for (var one : sent) {
            answer.withArray("/offsets").add(one.get().offset());
        }
        switch (command.get("end").asText()) {
            case "commit" -> producer.commitTransaction();
            case "abort" -> producer.abortTransaction();
            default -> {
                return;
            }
        }
        open.remove(id.asText() + "/" + compression);
    }

    private KafkaProducer<byte[], byte[]> producer(String transactionalId, String compression) {
        return producers.computeIfAbsent(transactionalId + "/" + compression, name -> {
            Map<String, Object> settings = new HashMap<>(Map.of(
                    "bootstrap.servers", brokers,
                    "acks", "all",
                    "enable.idempotence", "true",
                    "compression.type", compression,
                    "linger.ms", "1000",
                    "batch.size", "900000",
                    "key.serializer", ByteArraySerializer.class,
                    "value.serializer", ByteArraySerializer.class));
            if (transactionalId != null) {
                settings.put("transactional.id", transactionalId);
            }
            var producer = new KafkaProducer<byte[], byte[]>(settings);
            if (transactionalId != null) {
                producer.initTransactions();
            }
            return producer;
        });
    }

    /** Writes "partition offset time key value" for each committed record to a file, "-" for null. */
    private void dump(JsonNode command, ObjectNode answer) throws Exception {
        String topic = command.get("topic").asText();
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", brokers,
                "isolation.level", "read_committed",
                "key.deserializer", ByteArrayDeserializer.class,
                "value.deserializer", ByteArrayDeserializer.class);
        try (var consumer = new KafkaConsumer<byte[], byte[]>(settings);
                BufferedWriter file = Files.newBufferedWriter(Path.of(command.get("file").asText()))) {
            var partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(topic, info.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    file.write(record.partition() + " " + record.offset() + " " + record.timestamp() + " "
                            + hex(record.key()) + " " + hex(record.value()));
                    for (Header header : record.headers()) {
                        file.write(" " + hex(header.key().getBytes(StandardCharsets.UTF_8)) + "=" + hex(header.value()));
                    }
                    file.write("\n");
                }
            }
            partitions.forEach(partition -> answer.withObject("/ends").put("" + partition.partition(), ends.get(partition)));
        }
    }

    /** The end of each partition, as a reader that waits for nothing sees it. */
    private void ends(JsonNode command, ObjectNode answer) throws Exception {
        String topic = command.get("topic").asText();
        var partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        partitions.forEach(one -> asked.put(new TopicPartition(topic, one.partition()), OffsetSpec.latest()));
        admin.listOffsets(asked).all().get().forEach(
                (partition, found) -> answer.withObject("/ends").put("" + partition.partition(), found.offset()));
    }

    private void deleteRecords(JsonNode command) throws Exception {
        var partition = new TopicPartition(command.get("topic").asText(), command.get("partition").asInt());
        var before = RecordsToDelete.beforeOffset(command.get("before").asLong());
        admin.deleteRecords(Map.of(partition, before)).all().get();
    }

    /** Leader and in-sync replicas of each partition; leader -1 where there is none. */
    private void leaders(JsonNode command, ObjectNode answer) throws Exception {
        String topic = command.get("topic").asText();
        for (var one : admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions()) {
            var partition = answer.withObject("/partitions").putObject("" + one.partition());
            partition.put("leader", one.leader() == null ? -1 : one.leader().id());
            one.isr().forEach(replica -> partition.withArray("/isr").add(replica.id()));
        }
    }

    /** Writes "count" numbered events in the background, keyed by item, about "rate" a second. */
    private void number(JsonNode command) {
        String topic = command.get("topic").asText();
        int count = command.get("count").asInt();
        int rate = command.get("rate").asInt();
        numbering = new Thread(() -> {
            Map<String, Object> settings = Map.of(
                    "bootstrap.servers", brokers,
                    "acks", "all",
                    "enable.idempotence", "true",
                    "delivery.timeout.ms", DELIVERY_MS,
                    "linger.ms", "5",
                    "reconnect.backoff.max.ms", "200",
                    "key.serializer", ByteArraySerializer.class,
                    "value.serializer", ByteArraySerializer.class);
            try (var producer = new KafkaProducer<byte[], byte[]>(settings)) {
                long begun = System.nanoTime();
                for (int n = 0; n < count; n++) {
                    String item = "i" + n % 97;
                    String value = "{\"type\":\"sale\",\"item\":\"" + item + "\",\"by\":\"" + command.get("by").asText()
                            + "\",\"n\":" + n + "}";
                    var record = new ProducerRecord<>(
                            topic, item.getBytes(StandardCharsets.UTF_8), value.getBytes(StandardCharsets.UTF_8));
                    producer.send(record, (metadata, error) -> {
                        if (error == null) {
                            acknowledged.incrementAndGet();
                        } else {
                            failure = error.toString();
                            failed.incrementAndGet();
                        }
                    });
                    long aheadNs = 1_000_000_000L * n / rate - (System.nanoTime() - begun);
                    if (aheadNs > 5_000_000) {
                        Thread.sleep(aheadNs / 1_000_000);
                    }
                }
            } catch (InterruptedException error) {
                failure = error.toString();
            }
        });
        numbering.setDaemon(true);
        numbering.start();
    }

    private void numbered(ObjectNode answer) {
        answer.put("acknowledged", acknowledged.get()).put("failed", failed.get()).put("failure", failure);
        answer.put("done", !numbering.isAlive());
    }

    private static byte[] bytes(JsonNode hex) {
        return hex == null || hex.isNull() ? null : HEX.parseHex(hex.asText());
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? "-" : HEX.formatHex(bytes);
    }
}
