// Whether a webhook is Meta's: HMAC-SHA256 over the raw body, compared in constant time.
'use strict';

const { createHmac, timingSafeEqual } = require('node:crypto');

/** A function that tells whether `header` (`sha256=` and 64 digits) signs `body` (a Buffer). */
function verifier(secret) {
  return (header, body) => {
    if (typeof header !== 'string' || !header.startsWith('sha256=')) return false;
    const given = Buffer.from(header.slice(7), 'hex');
    const right = createHmac('sha256', secret).update(body).digest();
    return given.length === right.length && timingSafeEqual(given, right);
  };
}

module.exports = { verifier };
