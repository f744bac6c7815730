-- declared: one row per (subject, attribute); history: per change; standing: per subject narrowed or erased;
-- request: per (subject, act) still to be done; receipt: per erasure
--
-- SQLite. A subject is a pseudonym of 32 hex digits, a mark a keyed one-way hash of one.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS declared (
  subject TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,  -- JSON
  public INTEGER NOT NULL DEFAULT 0 CHECK (public IN (0, 1)),
  policy TEXT NOT NULL,
  declared_ms INTEGER NOT NULL,
  altered_ms INTEGER,
  PRIMARY KEY (subject, name)
) STRICT;

CREATE TABLE IF NOT EXISTS history (
  subject TEXT NOT NULL,
  name TEXT NOT NULL,
  act TEXT NOT NULL CHECK (act IN ('declare', 'alter', 'publish', 'hide', 'erase')),
  by TEXT NOT NULL CHECK (by IN ('site', 'visitor')),
  at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS history_subject ON history (subject);

CREATE TABLE IF NOT EXISTS standing (
  number INTEGER PRIMARY KEY AUTOINCREMENT,  -- workers read from the last one on
  mark BLOB NOT NULL UNIQUE,
  granted TEXT,  -- purposes joined by +; NULL: erased
  at_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS request (
  subject TEXT NOT NULL,
  act TEXT NOT NULL CHECK (act IN ('access', 'erase')),
  asked_ms INTEGER NOT NULL,
  PRIMARY KEY (subject, act)
) STRICT;

CREATE TABLE IF NOT EXISTS receipt (
  receipt BLOB NOT NULL PRIMARY KEY,
  mark BLOB NOT NULL,
  asked_ms INTEGER NOT NULL,
  done_ms INTEGER,
  counts TEXT NOT NULL  -- JSON: place → what was removed there
) STRICT;

PRAGMA user_version = 1;
COMMIT;
