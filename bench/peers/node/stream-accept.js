// node:http + one XADD, accepting: the least that Node and Redis can do for a durable 200.
'use strict';

const http = require('node:http');
const { Redis } = require('ioredis');
const { verifier } = require('./signature.js');

const BODY_BYTES_MAX = 4 * 1024 * 1024;
const isSigned = verifier(process.env.APP_SECRET);
// Commands of one turn of the event loop share a write.
const redis = new Redis(Number(process.env.REDIS_PORT), '127.0.0.1', { enableAutoPipelining: true });
redis.on('error', (error) => console.error(error.message));

const answer = (response, status) => {
  response.writeHead(status, { 'content-length': 0 });
  response.end();
};

const server = http.createServer((request, response) => {
  const parts = [];
  let bytes = 0;
  request.on('data', (part) => {
    bytes += part.length;
    if (bytes <= BODY_BYTES_MAX) parts.push(part);
  });
  request.on('end', () => {
    if (bytes > BODY_BYTES_MAX) return answer(response, 413);
    const body = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    const signature = request.headers['x-hub-signature-256'];
    if (!isSigned(signature, body)) return answer(response, 401);
    redis.xadd('webhooks', '*', 'path', request.url, 'signature', signature, 'body', body).then(
      () => answer(response, 200),
      (error) => {
        console.error(error.message);
        answer(response, 503);
      },
    );
  });
});

redis.once('ready', () => {
  server.listen(0, '127.0.0.1', () => console.log(`listening 127.0.0.1:${server.address().port}`));
});

process.on('SIGTERM', () => process.exit(0));
