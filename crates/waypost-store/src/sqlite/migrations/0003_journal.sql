-- The journal beside the file: the number that marks this database's records, drawn once and shown nowhere, and the
-- last record that is applied, written in the transaction that applies it.
CREATE TABLE journal (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    stamp   INTEGER NOT NULL,
    applied INTEGER NOT NULL
) STRICT;
INSERT INTO journal (id, stamp, applied) VALUES (1, random(), 0);

-- Records that could not be applied, which should never happen: nothing that was acknowledged is thrown away.
CREATE TABLE set_aside (
    sequence INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    record   BLOB NOT NULL
) STRICT;
