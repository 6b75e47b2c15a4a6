// What KafkaJS does with the embedded broker: run as `node kafkajs.js MODULES BROKER TOPIC EACH`. Produces EACH records in each
// compression that it has without native code, idempotently, to the topic's first partition. lz4 and zstd need plugins there.

const { createRequire } = require('node:module');

const [modules, broker, topic, each] = process.argv.slice(2);
const from = createRequire(modules + '/');
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = from('kafkajs');
CompressionCodecs[CompressionTypes.Snappy] = from('kafkajs-snappy');

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
  const [end] = await admin.fetchTopicOffsets(topic);
  if (end.high !== String(3 * each)) throw new Error(`the topic ends at ${end.high}`);
  await admin.disconnect();
}

main().then(() => console.log('KafkaJS is content'), (error) => { console.error(error); process.exit(1); });
