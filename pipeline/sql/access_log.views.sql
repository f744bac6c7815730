-- one row per page view of the days that are taken, with the fields it is counted by
--
-- outcomes  one row per line
-- taken     day_ms of the days
SELECT
  o.number,
  o.ts_ms,
  o.day_ms,
  f.address,
  f.agent,
  f.request,
  f.referrer
FROM outcomes AS o
JOIN fields AS f ON f.number = o.number
JOIN taken AS t ON t.day_ms = o.day_ms
WHERE o.outcome = 'view'
