// node:http + Redis streams, delivering: a consumer group of one. What fails stays pending and is tried again at the
// next start; there is no retry schedule, no order and no deduplication.
'use strict';

const { Redis } = require('ioredis');
const { CONCURRENCY, receiver } = require('./receiver.js');

const TRIM_EVERY_MS = 1000;
const post = receiver(process.env.RECEIVER);
const options = { maxRetriesPerRequest: null, enableAutoPipelining: true };
const port = Number(process.env.REDIS_PORT);
// Reading blocks its connection; acknowledgements have another.
const reading = new Redis(port, '127.0.0.1', options);
const settling = new Redis(port, '127.0.0.1', options);
for (const redis of [reading, settling]) redis.on('error', (error) => console.error(error.message));

/** Ids being delivered, oldest first. */
const inFlight = new Set();
let done = [];
let lastId = null;
let roomAgain = () => {};

async function deliver(id, fields) {
  try {
    await post(fields[1], fields[3], fields[5]);
    // All that were delivered in this turn of the event loop are acknowledged together.
    if (done.push(id) === 1) setImmediate(acknowledge);
  } catch (error) {
    console.error(`${id}: ${error.message}`);
  }
  inFlight.delete(id);
  roomAgain();
}

function acknowledge() {
  const ids = done;
  done = [];
  settling.xack('webhooks', 'deliver', ...ids).catch((error) => console.error(error.message));
}

async function run() {
  await settling.xgroup('CREATE', 'webhooks', 'deliver', '0', 'MKSTREAM').catch((error) => {
    if (!error.message.startsWith('BUSYGROUP')) throw error;
  });
  console.log('ready');
  // First what an earlier run left pending, then what is new.
  let from = '0';
  for (;;) {
    while (inFlight.size >= CONCURRENCY) await new Promise((resolve) => (roomAgain = resolve));
    const room = CONCURRENCY - inFlight.size;
    const found = await reading.xreadgroup(
      'GROUP', 'deliver', 'one', 'COUNT', room, 'BLOCK', 5000, 'STREAMS', 'webhooks', from);
    const entries = found ? found[0][1] : [];
    if (from !== '>') from = entries.length ? entries.at(-1)[0] : '>';
    for (const [id, fields] of entries) {
      inFlight.add(id);
      lastId = id;
      deliver(id, fields);
    }
  }
}

setInterval(() => {
  const oldest = inFlight.values().next().value ?? lastId;
  if (oldest) settling.xtrim('webhooks', 'MINID', '~', oldest).catch((error) => console.error(error.message));
}, TRIM_EVERY_MS);

process.on('SIGTERM', () => process.exit(0));
run().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
