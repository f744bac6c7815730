-- one row per (unit, visit); visit numbers ascend in time
--
-- A visit ends after 30 minutes without an event and at UTC midnight. A ping keeps a visit open and opens
-- none. Stretches without a gap are cut first, then the pings a stretch begins with are dropped: whatever
-- follows such a ping within 30 minutes is more than 30 minutes after the visit before it.
-- Where time is coarse, a ping counts as later than the view of the same instant.
--
-- first_ms    its first event
-- entered_ms  its first view, NULL where it had none
-- left_ms     its last view
WITH gaps AS (
  SELECT
    unit,
    ts_ms,
    ts_ms - lag(ts_ms) OVER (PARTITION BY unit ORDER BY ts_ms) AS gap_ms
  FROM events
),
starts AS (
  SELECT
    unit,
    ts_ms AS start_ms,
    lead(ts_ms) OVER (PARTITION BY unit ORDER BY ts_ms) AS next_ms,
    row_number() OVER (PARTITION BY unit ORDER BY ts_ms) AS visit
  FROM gaps
  WHERE gap_ms IS NULL OR gap_ms > 1800000
)
SELECT
  e.unit,
  CAST(s.visit AS BIGINT) AS visit,
  min(CASE WHEN e.kind <> 'ping' THEN e.ts_ms END) AS first_ms,
  max(e.ts_ms) - min(CASE WHEN e.kind <> 'ping' THEN e.ts_ms END) AS duration_ms,
  min(CASE WHEN e.kind = 'view' THEN e.ts_ms END) AS entered_ms,
  max(CASE WHEN e.kind = 'view' THEN e.ts_ms END) AS left_ms,
  count(CASE WHEN e.kind = 'view' THEN 1 END) AS pageviews,
  count(CASE WHEN e.kind = 'event' AND coalesce(e.interactive, TRUE) THEN 1 END) AS interactions
FROM events AS e
JOIN starts AS s
  ON s.unit = e.unit
  AND e.ts_ms >= s.start_ms
  AND (s.next_ms IS NULL OR e.ts_ms < s.next_ms)
GROUP BY e.unit, s.visit
HAVING count(CASE WHEN e.kind <> 'ping' THEN 1 END) > 0
