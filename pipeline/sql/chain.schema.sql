-- transfer, access: one row per line of each register; transferred: per (transfer, subject);
-- chain: one row per register, where it begins and ends; proof: per record of a consent;
-- version: per version of the policy, as it was when it was first used
--
-- SQLite, in rights.sqlite. A line can be added, and the oldest can go once `chain` says so; nothing here can
-- be changed. A mark is a keyed one-way hash of a pseudonym.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS chain (
  name TEXT NOT NULL PRIMARY KEY,
  -- The newest line that was removed because of its age, and the hash that the oldest one kept follows.
  pruned INTEGER NOT NULL DEFAULT 0,
  pruned_hash TEXT NOT NULL DEFAULT '',
  -- The newest line: without it, removing the last ones would not be seen.
  head INTEGER NOT NULL DEFAULT 0,
  head_hash TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT OR IGNORE INTO chain (name) VALUES ('transfer'), ('access');

CREATE TABLE IF NOT EXISTS transfer (
  number INTEGER NOT NULL PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  entry TEXT NOT NULL,  -- JSON
  hash TEXT NOT NULL  -- over the hash before, number, time and entry
) STRICT;

CREATE TABLE IF NOT EXISTS access (
  number INTEGER NOT NULL PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  entry TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS transferred (
  number INTEGER NOT NULL,
  mark BLOB NOT NULL,
  PRIMARY KEY (mark, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS proof (
  id TEXT NOT NULL PRIMARY KEY,
  mark BLOB NOT NULL,
  at_ms INTEGER NOT NULL,
  act TEXT NOT NULL,
  via TEXT NOT NULL,
  policy TEXT NOT NULL,
  purposes TEXT NOT NULL,  -- joined by +
  service TEXT
) STRICT;

CREATE TABLE IF NOT EXISTS version (
  id TEXT NOT NULL PRIMARY KEY,
  since_ms INTEGER NOT NULL,
  version TEXT NOT NULL,  -- JSON
  controller TEXT NOT NULL  -- JSON
) STRICT;

CREATE INDEX IF NOT EXISTS proof_mark ON proof (mark, at_ms);

CREATE TRIGGER IF NOT EXISTS transfer_is_next BEFORE INSERT ON transfer
WHEN NEW.number != (SELECT head + 1 FROM chain WHERE name = 'transfer')
BEGIN SELECT RAISE(ABORT, 'a line out of its order'); END;
CREATE TRIGGER IF NOT EXISTS access_is_next BEFORE INSERT ON access
WHEN NEW.number != (SELECT head + 1 FROM chain WHERE name = 'access')
BEGIN SELECT RAISE(ABORT, 'a line out of its order'); END;

CREATE TRIGGER IF NOT EXISTS transfer_not_updated BEFORE UPDATE ON transfer
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS access_not_updated BEFORE UPDATE ON access
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS transferred_not_updated BEFORE UPDATE ON transferred
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS proof_not_updated BEFORE UPDATE ON proof
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS version_not_updated BEFORE UPDATE ON version
BEGIN SELECT RAISE(ABORT, 'append only'); END;

CREATE TRIGGER IF NOT EXISTS version_not_deleted BEFORE DELETE ON version
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS transfer_not_deleted BEFORE DELETE ON transfer
WHEN OLD.number > (SELECT pruned FROM chain WHERE name = 'transfer')
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS access_not_deleted BEFORE DELETE ON access
WHEN OLD.number > (SELECT pruned FROM chain WHERE name = 'access')
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS transferred_not_deleted BEFORE DELETE ON transferred
WHEN OLD.number > (SELECT pruned FROM chain WHERE name = 'transfer')
BEGIN SELECT RAISE(ABORT, 'append only'); END;

CREATE TRIGGER IF NOT EXISTS chain_not_deleted BEFORE DELETE ON chain
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS chain_only_forward BEFORE UPDATE ON chain
WHEN NEW.name != OLD.name OR NEW.head < OLD.head OR NEW.pruned < OLD.pruned OR NEW.pruned > NEW.head
BEGIN SELECT RAISE(ABORT, 'append only'); END;

COMMIT;
