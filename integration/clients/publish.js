// Publishes events as services do that know nothing of us: run as `node publish.js MODULES BROKER CLIENT FILE`, where FILE is a JSON
// array of {topic, key, value}, the key null for none, in order. CLIENT is `kafkajs`, with its producer and its own JSON, or `nestjs`, with the Kafka
// client of NestJS microservices, whose `emit` writes the value as it is.

const { createRequire } = require('node:module');
const { readFileSync } = require('node:fs');
const { pathToFileURL } = require('node:url');

const [modules, broker, client, file] = process.argv.slice(2);
const from = createRequire(modules + '/');
const events = JSON.parse(readFileSync(file, 'utf8'));

async function byKafkaJs() {
  const { Kafka, logLevel } = from('kafkajs');
  const producer = new Kafka({ clientId: 'service', brokers: [broker], logLevel: logLevel.ERROR }).producer();
  await producer.connect();
  for (const { topic, key, value } of events) {
    await producer.send({ topic, messages: [{ key, value: JSON.stringify(value) }] });
  }
  await producer.disconnect();
}

async function byNestJs() {
  from('reflect-metadata');
  const { ClientProxyFactory, Transport } = await import(pathToFileURL(from.resolve('@nestjs/microservices')).href);
  const { lastValueFrom } = from('rxjs');
  const options = { client: { clientId: 'service', brokers: [broker], logLevel: 1 }, producerOnlyMode: true };
  const proxy = ClientProxyFactory.create({ transport: Transport.KAFKA, options });
  await proxy.connect();
  for (const { topic, key, value } of events) {
    await lastValueFrom(proxy.emit(topic, key == null ? value : { key, value }), { defaultValue: undefined });
  }
  await proxy.close();
}

const publish = { kafkajs: byKafkaJs, nestjs: byNestJs }[client];
publish().then(
  () => { console.log(`published ${events.length}`); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
