-- Identifiers are waypost's own 64-bit numbers (milliseconds since 2020 and a counter), handed out in
-- one sequence for all three kinds: sorting by them is sorting by acceptance. A request's events have
-- the numbers right after its own. Moments are milliseconds since 1970, durations microseconds.
--
-- The tables of the ledger declare no foreign keys: their rows are written together in one
-- transaction and pruned together, and each key would cost every accept a look-up and an index.

-- The names that rows would otherwise repeat. Rows are never changed or deleted.
CREATE TABLE name (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE request (
    id          INTEGER PRIMARY KEY,
    source      INTEGER NOT NULL,          -- name
    received_at INTEGER NOT NULL,
    proved_by   INTEGER,                   -- name
    events      INTEGER NOT NULL,          -- how many
    room        INTEGER,                   -- the last of the numbers that are kept free for deliveries of its
                                           -- quarantined events
    target      TEXT    NOT NULL,
    body_sha256 BLOB    NOT NULL,
    body_bytes  INTEGER NOT NULL,
    headers     BLOB    NOT NULL
) STRICT;

-- The bodies that are kept. They go long before their records: in a table of their own they leave whole
-- pages free, for the next bodies or to be given back, and to know which requests have one is to read it.
CREATE TABLE body (
    request INTEGER PRIMARY KEY,
    bytes   BLOB NOT NULL
) STRICT;

CREATE TABLE event (
    id                   INTEGER PRIMARY KEY,
    request              INTEGER NOT NULL,
    received_at          INTEGER NOT NULL,
    source               INTEGER NOT NULL, -- name
    repeats              INTEGER,          -- the earlier event with the same key
    once                 INTEGER NOT NULL, -- whether a second one with its key repeats it
    kind                 INTEGER NOT NULL, -- name
    class                INTEGER NOT NULL, -- name
    field                INTEGER NOT NULL, -- name
    type                 INTEGER NOT NULL, -- name
    phone_number_id      INTEGER,          -- name
    display_phone_number INTEGER,          -- name
    waba_id              INTEGER,          -- name
    occurred_at          INTEGER,
    conversation         INTEGER,
    quarantined          INTEGER NOT NULL, -- 1: held until an operator says to whom it goes
    wamid                TEXT,
    key                  TEXT NOT NULL
) STRICT;
CREATE INDEX event_quarantined ON event (request) WHERE quarantined = 1;

-- Conversations. One that turned out to be with the same person as an earlier one was merged into it; what came
-- before stays under it. `seen` is the number of an event of it, less than a day's numbers before its last one's.
CREATE TABLE conversation (
    id     INTEGER PRIMARY KEY,
    name   TEXT    NOT NULL,
    merged INTEGER,                        -- the conversation it was merged into, which never was itself
    seen   INTEGER NOT NULL
) STRICT;
CREATE INDEX conversation_merged ON conversation (merged) WHERE merged IS NOT NULL;

-- Whose conversation each identity is known by, of people at our numbers and of groups. 0: nobody's, since the
-- one who had it has it no more. `names` is the conversation that bears the identity as its name.
CREATE TABLE contact (
    number       INTEGER NOT NULL,         -- name: number, 0x1F, source
    identity     TEXT    NOT NULL,
    conversation INTEGER NOT NULL,
    names        INTEGER,
    bound        INTEGER NOT NULL,         -- 1: a phone number that was seen together with a user id
    PRIMARY KEY (number, identity)
) STRICT, WITHOUT ROWID;

-- Which identity keys are known, and which events bear a message id: one tree for both questions.
-- `subject` is a hash of the message id, or of the key where there is none. `key` is either a hash of
-- scope and key (always negative), and then `event` is the event that a second one would repeat;
-- or it is the number of an event (always positive) that is to be found but compared with nothing.
CREATE TABLE identity (
    subject INTEGER NOT NULL,
    key     INTEGER NOT NULL,
    event   INTEGER NOT NULL,
    PRIMARY KEY (subject, key)
) STRICT, WITHOUT ROWID;

-- Those that came last, in order of arrival: what is here counts before what is there.
CREATE TABLE fresh_identity (
    id      INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL,
    key     INTEGER NOT NULL,
    event   INTEGER NOT NULL
) STRICT;

CREATE TABLE delivery (
    id          INTEGER PRIMARY KEY,
    request     INTEGER NOT NULL,
    event       INTEGER NOT NULL,          -- 0: the whole request
    destination INTEGER NOT NULL,          -- name
    state       INTEGER NOT NULL,          -- 0 owed, 1 delivered, 2 dead, 3 discarded
    priority    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,          -- failed ones, since the last replay
    overtaken   INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,          -- or replayed
    due_at      INTEGER NOT NULL,
    settled_at  INTEGER,
    turn        INTEGER NOT NULL,          -- its id; after a replay, a later number of the sequence
    lanes       BLOB NOT NULL
) STRICT;
CREATE INDEX delivery_owed ON delivery (destination, turn) WHERE state = 0;
-- The next two hold nothing of a delivery that is delivered at the first attempt.
CREATE INDEX delivery_due ON delivery (destination, due_at) WHERE state = 0 AND attempts > 0;
CREATE INDEX delivery_replayed ON delivery (destination) WHERE state = 0 AND turn > id;
CREATE INDEX delivery_dead ON delivery (request) WHERE state = 2;
CREATE INDEX delivery_request ON delivery (request, event);

CREATE TABLE attempt (
    delivery      INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    total_us      INTEGER NOT NULL,
    resolve_us    INTEGER,
    connect_us    INTEGER,
    tls_us        INTEGER,
    first_byte_us INTEGER,
    address       INTEGER,                 -- name
    status        INTEGER,
    code          INTEGER,                 -- name; null: a success
    excerpt       BLOB,
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

-- How many deliveries of each destination are owed and dead, and how many events of each source are
-- quarantined, kept in the same transactions.
CREATE TABLE tally (
    name        INTEGER PRIMARY KEY,       -- name
    owed        INTEGER NOT NULL,
    dead        INTEGER NOT NULL,
    quarantined INTEGER NOT NULL
) STRICT;

-- What operators did. The numbers are of the one sequence. One of `delivery`, `event` and `destination` is set.
CREATE TABLE act (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    who         TEXT    NOT NULL,
    what        TEXT    NOT NULL,          -- discard, replay, retry, release, pause, resume
    delivery    INTEGER,
    event       INTEGER,
    destination INTEGER,                   -- name
    note        TEXT
) STRICT;
CREATE INDEX act_delivery ON act (delivery) WHERE delivery IS NOT NULL;
CREATE INDEX act_event ON act (event) WHERE event IS NOT NULL;

-- The destinations that an operator paused.
CREATE TABLE paused (
    destination INTEGER PRIMARY KEY,       -- name
    since       INTEGER NOT NULL,
    who         TEXT    NOT NULL
) STRICT;

-- What was made at run time.
CREATE TABLE entry (
    kind       TEXT    NOT NULL,           -- upstream, source, destination, route
    name       TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- One row. `probes` counts the writes that only asked whether writing works. `skew_ms` is by how much
-- the wall clock was ever found behind the identifiers, so that a search by time knows how far off
-- identifiers can be. `last_id` is the greatest identifier that was in use when something was last pruned:
-- its rows may be gone, and it is not handed out again.
CREATE TABLE ledger (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    probes  INTEGER NOT NULL,
    skew_ms INTEGER NOT NULL,
    last_id INTEGER NOT NULL
) STRICT;
INSERT INTO ledger (id, probes, skew_ms, last_id) VALUES (1, 0, 0, 0);
