// The consumer that teams come from: NestJS or plain KafkaJS with ioredis, counting at least once into keys of its own. Run as
// `node counting.js MODULES BROKER TOPIC GROUP REDIS_URL MOST COMMIT`: counts MOST records and ends. Where COMMIT is `lost` none of
// its commits reaches the broker, as when it crashes in front of the first, so that the next one counts the same records again.

const { createRequire } = require('node:module');

const [modules, broker, topic, groupId, redisUrl, most, commit] = process.argv.slice(2);
const from = createRequire(modules + '/');
const { Kafka, logLevel } = from('kafkajs');
const Redis = from('ioredis');

async function main() {
  const redis = new Redis(redisUrl);
  const kafka = new Kafka({ clientId: 'counting', brokers: [broker], logLevel: logLevel.ERROR });
  const consumer = kafka.consumer({ groupId });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let counted = 0;
  await new Promise((done, fail) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error));
    consumer.run({
      autoCommit: commit !== 'lost',
      eachMessage: async ({ message }) => {
        if (counted === Number(most)) throw new Error('beyond the last record that was asked for');
        const event = JSON.parse(message.value.toString());
        const day = new Date(event.timestamp).toISOString().slice(0, 10);
        await redis.incr(`page:${event.pageId}:views`);
        await redis.hincrby('site:views', day, 1);
        counted += 1;
        // Not awaited here: it waits for this very call.
        if (counted === Number(most)) consumer.stop().then(done, fail);
      },
    }).catch(fail);
  });
  await consumer.disconnect();
  await redis.quit();
  console.log(`counted ${counted}`);
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
