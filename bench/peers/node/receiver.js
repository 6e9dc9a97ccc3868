// The receiver that webhooks are sent on to: kept connections, as many as deliveries at once.
'use strict';

const { Pool } = require('undici');

/** Deliveries under way at once, at most. */
const CONCURRENCY = 64;

/** A function that posts a webhook and fails unless the answer is 2xx. */
function receiver(origin) {
  const pool = new Pool(origin, { connections: CONCURRENCY });
  return async (path, signature, body) => {
    const headers = { 'content-type': 'application/json', 'x-hub-signature-256': signature };
    const answer = await pool.request({ method: 'POST', path, headers, body });
    await answer.body.dump();
    if (answer.statusCode < 200 || answer.statusCode > 299) throw new Error(`answered ${answer.statusCode}`);
  };
}

module.exports = { CONCURRENCY, receiver };
