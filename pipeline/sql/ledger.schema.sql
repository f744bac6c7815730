-- cap: one row per UTC day; charge: one row per (release that pays, UTC day); release: one row per release
--
-- SQLite. What a day has spent only grows: nothing here can be changed or removed, not even by replacing.
-- Amounts are whole: ρ in billionths, δ in units of 1e-18.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS cap (
  day TEXT NOT NULL PRIMARY KEY,
  -- No day may ever spend more than ρ = 0.015 and δ = 1e-12, whatever asks.
  nano_rho INTEGER NOT NULL CHECK (nano_rho BETWEEN 1 AND 15000000),
  atto_delta INTEGER NOT NULL CHECK (atto_delta BETWEEN 0 AND 1000000)
) STRICT;

CREATE TABLE IF NOT EXISTS charge (
  release_id TEXT NOT NULL,
  day TEXT NOT NULL,
  nano_rho INTEGER NOT NULL CHECK (nano_rho > 0),
  atto_delta INTEGER NOT NULL CHECK (atto_delta >= 0),
  PRIMARY KEY (release_id, day)
) STRICT;

CREATE INDEX IF NOT EXISTS charge_day ON charge (day);

CREATE TABLE IF NOT EXISTS release (
  release_id TEXT NOT NULL PRIMARY KEY,
  spec_hash TEXT NOT NULL,
  code_version TEXT NOT NULL,
  output BLOB NOT NULL,
  -- The release whose charge pays for it: itself, but for the hours of a day, which its first hour pays for.
  paid_by TEXT NOT NULL,
  -- The place in the chain of all releases, from 1, and the hash that chains this one to the one before.
  number INTEGER NOT NULL UNIQUE,
  head TEXT NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS release_paid_by ON release (paid_by);

-- NOT EXISTS, not a comparison: a day without a cap compares as NULL, which would let the charge pass.
CREATE TRIGGER IF NOT EXISTS charge_within_cap BEFORE INSERT ON charge
WHEN NOT EXISTS (
  SELECT 1 FROM cap
  WHERE cap.day = NEW.day
    AND cap.nano_rho >= NEW.nano_rho
      + (SELECT coalesce(sum(charge.nano_rho), 0) FROM charge WHERE charge.day = NEW.day)
    AND cap.atto_delta >= NEW.atto_delta
      + (SELECT coalesce(sum(charge.atto_delta), 0) FROM charge WHERE charge.day = NEW.day)
)
BEGIN SELECT RAISE(ABORT, 'budget exhausted'); END;

CREATE TRIGGER IF NOT EXISTS release_is_charged BEFORE INSERT ON release
WHEN NOT EXISTS (SELECT 1 FROM charge WHERE charge.release_id = NEW.paid_by)
BEGIN SELECT RAISE(ABORT, 'a release without a charge'); END;

CREATE TRIGGER IF NOT EXISTS release_pays_itself BEFORE INSERT ON release
WHEN NEW.paid_by != NEW.release_id AND NOT (
  NEW.release_id GLOB '*/hour/????-??-??T??'
  AND NEW.paid_by = substr(NEW.release_id, 1, length(NEW.release_id) - 2) || '00'
)
BEGIN SELECT RAISE(ABORT, 'a release that another pays for'); END;

-- Of hours that one charge pays for, each counts visitor-days that no earlier one does: never one before.
CREATE TRIGGER IF NOT EXISTS hour_is_later BEFORE INSERT ON release
WHEN EXISTS (
  SELECT 1 FROM release WHERE release.paid_by = NEW.paid_by AND release.release_id > NEW.release_id
)
BEGIN SELECT RAISE(ABORT, 'an hour after a later one'); END;

CREATE TRIGGER IF NOT EXISTS release_is_next BEFORE INSERT ON release
WHEN NEW.number != (SELECT coalesce(max(release.number), 0) + 1 FROM release)
BEGIN SELECT RAISE(ABORT, 'a release out of its order'); END;

CREATE TRIGGER IF NOT EXISTS cap_not_replaced BEFORE INSERT ON cap
WHEN EXISTS (SELECT 1 FROM cap WHERE cap.day = NEW.day)
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS charge_not_replaced BEFORE INSERT ON charge
WHEN EXISTS (SELECT 1 FROM charge WHERE charge.release_id = NEW.release_id AND charge.day = NEW.day)
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS release_not_replaced BEFORE INSERT ON release
WHEN EXISTS (SELECT 1 FROM release WHERE release.release_id = NEW.release_id)
BEGIN SELECT RAISE(ABORT, 'append only'); END;

CREATE TRIGGER IF NOT EXISTS cap_not_updated BEFORE UPDATE ON cap
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS charge_not_updated BEFORE UPDATE ON charge
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS release_not_updated BEFORE UPDATE ON release
BEGIN SELECT RAISE(ABORT, 'append only'); END;

CREATE TRIGGER IF NOT EXISTS cap_not_deleted BEFORE DELETE ON cap
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS charge_not_deleted BEFORE DELETE ON charge
BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS release_not_deleted BEFORE DELETE ON release
BEGIN SELECT RAISE(ABORT, 'append only'); END;

PRAGMA user_version = 3;
COMMIT;
