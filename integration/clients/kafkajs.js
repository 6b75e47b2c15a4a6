// What KafkaJS does with the embedded broker: run as `node kafkajs.js MODULES BROKER TOPIC EACH`. Produces EACH records in each
// compression that it has without native code, idempotently, to the topic's first partition. lz4 and zstd need plugins there.

const { createRequire } = require('node:module');

const DEADLINE_MS = 60_000;

const [modules, broker, topic, each] = process.argv.slice(2);
const from = createRequire(modules + '/');
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = from('kafkajs');
CompressionCodecs[CompressionTypes.Snappy] = from('kafkajs-snappy');

// The embedded log answers when a record is written and shows it when it is synced: a busy disk takes its time.
async function ends(admin, topic, at) {
  const until = Date.now() + DEADLINE_MS;
  for (;;) {
    const [end] = await admin.fetchTopicOffsets(topic);
    if (end.high === at) return;
    if (Date.now() > until) throw new Error(`the topic ends at ${end.high}, not at ${at}`);
  }
}

async function main() {
  const kafka = new Kafka({ clientId: 'test', brokers: [broker], logLevel: logLevel.ERROR });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 1 }] });
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (const name of ['None', 'GZIP', 'Snappy']) {
    const messages = Array.from({ length: Number(each) }, (_, n) => ({ key: `k${n % 7}`, value: `${name} ${n}`, partition: 0 }));
    for (let at = 0; at < messages.length; at += 50) {
      await producer.send({ topic, acks: -1, compression: CompressionTypes[name], messages: messages.slice(at, at + 50) });
    }
  }
  await producer.disconnect();
  await ends(admin, topic, String(3 * each));
  await admin.disconnect();
}

main().then(() => console.log('KafkaJS is content'), (error) => { console.error(error); process.exit(1); });
