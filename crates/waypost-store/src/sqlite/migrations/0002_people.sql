-- What an event told of the person whom its conversation is with: 0 nothing, 1 the first that was heard of them, 2 that
-- something about them is new. Events of before told nothing.
ALTER TABLE event ADD COLUMN person INTEGER NOT NULL DEFAULT 0;

-- The conversations that are with one person, and what the person calls themselves, as last told. One that was merged
-- into another has no row.
CREATE TABLE person (
    conversation INTEGER PRIMARY KEY,
    number       INTEGER NOT NULL,         -- name: number, 0x1F, source
    name         TEXT,
    username     TEXT
) STRICT;

-- By which identities the people of a conversation are known.
CREATE INDEX contact_conversation ON contact (conversation);

-- Those who are known already: by a phone number, which is digits, or by a user id, which begins with a country and a
-- dot. All others are groups.
INSERT INTO person (conversation, number)
SELECT coalesce(v.merged, v.id), min(c.number) FROM contact c JOIN conversation v ON v.id = c.conversation
WHERE c.identity <> '' AND (c.identity NOT GLOB '*[^0-9]*' OR c.identity GLOB '[A-Z][A-Z].*')
GROUP BY 1;

-- The greatest number of an event that was pruned: whoever has read as far has missed nothing. Until now only what was
-- in use by then was written down.
ALTER TABLE ledger ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
UPDATE ledger SET gone = last_id;
