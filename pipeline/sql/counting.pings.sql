-- one row per ping: what a browser reports of a page that is looked at
--
-- engaged_ms  visible and focused, since the ping before
-- scroll      deepest so far, per cent
SELECT
  unit,
  ts_ms,
  page,
  engaged_ms,
  scroll
FROM scoped
WHERE kind = 'ping'
