// Express + BullMQ, accepting: verify, add a job, answer 200 once Redis has it.
//
// As "Production best practices" of Express and "Going to production" of BullMQ have it: NODE_ENV=production,
// no offline queue on the side that answers callers, jobs that retry with backoff and are removed once done.
'use strict';

const express = require('express');
const { Queue } = require('bullmq');
const { Redis } = require('ioredis');
const { verifier } = require('./signature.js');

const isSigned = verifier(process.env.APP_SECRET);
const connection = new Redis(Number(process.env.REDIS_PORT), '127.0.0.1', { enableOfflineQueue: false });
connection.on('error', (error) => console.error(error.message));

connection.once('ready', () => {
  const queue = new Queue('webhooks', {
    connection,
    defaultJobOptions: {
      attempts: 5,
      backoff: { type: 'exponential', delay: 1000 },
      removeOnComplete: true,
      removeOnFail: 10_000,
    },
  });
  queue.on('error', (error) => console.error(error.message));
  const app = express();
  app.disable('x-powered-by');
  app.post('/*path', express.raw({ type: () => true, limit: '4mb' }), async (request, response) => {
    const signature = request.get('x-hub-signature-256');
    if (!isSigned(signature, request.body)) return response.status(401).end();
    try {
      await queue.add('webhook', { path: request.originalUrl, signature, body: request.body.toString('utf8') });
      response.status(200).end();
    } catch (error) {
      console.error(error.message);
      response.status(503).end();
    }
  });
  const server = app.listen(0, '127.0.0.1', () => console.log(`listening 127.0.0.1:${server.address().port}`));
});

process.on('SIGTERM', () => process.exit(0));
