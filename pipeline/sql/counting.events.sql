-- one row per event that the purpose `statistics` may use, with what visits are made of
--
-- What only some statistics need stays in `scoped`: kept for every event, it would take half as much again.
SELECT
  id,
  kind,
  unit,
  ts_ms,
  page,
  interactive,
  country,
  browser,
  os,
  device,
  referrer,
  utm_source,
  utm_medium,
  utm_campaign
FROM scoped
