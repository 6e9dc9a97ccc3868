// Express + BullMQ, delivering: a worker that posts each job to the receiver.
//
// As "Going to production" of BullMQ has it: maxRetriesPerRequest null, an error listener, close on SIGTERM.
'use strict';

const { Worker } = require('bullmq');
const { Redis } = require('ioredis');
const { CONCURRENCY, receiver } = require('./receiver.js');

const post = receiver(process.env.RECEIVER);
const connection = new Redis(Number(process.env.REDIS_PORT), '127.0.0.1', { maxRetriesPerRequest: null });
connection.on('error', (error) => console.error(error.message));

const worker = new Worker('webhooks', ({ data }) => post(data.path, data.signature, data.body), {
  connection,
  concurrency: CONCURRENCY,
});
worker.on('error', (error) => console.error(error.message));
worker.waitUntilReady().then(() => console.log('ready'));

process.on('SIGTERM', async () => {
  await worker.close();
  process.exit(0);
});
