-- one row per (visitor, day_ms, visit); visit numbers ascend in time
--
-- A visit ends after 30 minutes without an event and at UTC midnight. A ping keeps a visit open and opens
-- none. Stretches without a gap are cut first, then the pings a stretch begins with are dropped: whatever
-- follows such a ping within 30 minutes is more than 30 minutes after the visit before it.
-- Where time is coarse, a ping counts as later than the view of the same instant.
--
-- Only instants are put in order for all events; what a visit's first and last ones say is looked up in the end:
-- sorting whole events takes twice the time and memory.
WITH gaps AS (
  SELECT
    visitor,
    day_ms,
    ts_ms,
    ts_ms - lag(ts_ms) OVER (PARTITION BY visitor, day_ms ORDER BY ts_ms) AS gap_ms
  FROM events
),
starts AS (
  SELECT
    visitor,
    day_ms,
    ts_ms AS start_ms,
    lead(ts_ms) OVER (PARTITION BY visitor, day_ms ORDER BY ts_ms) AS next_ms,
    row_number() OVER (PARTITION BY visitor, day_ms ORDER BY ts_ms) AS visit
  FROM gaps
  WHERE gap_ms IS NULL OR gap_ms > 1800000
),
counted AS (
  SELECT
    e.visitor,
    e.day_ms,
    s.visit,
    min(CASE WHEN e.kind <> 'ping' THEN e.ts_ms END) AS opened_ms,
    min(CASE WHEN e.kind = 'view' THEN e.ts_ms END) AS entered_ms,
    max(CASE WHEN e.kind = 'view' THEN e.ts_ms END) AS left_ms,
    max(e.ts_ms) AS ended_ms,
    count(CASE WHEN e.kind = 'view' THEN 1 END) AS pageviews,
    count(CASE WHEN e.kind = 'event' AND coalesce(e.interactive, TRUE) THEN 1 END) AS interactions
  FROM events AS e
  JOIN starts AS s ON s.visitor = e.visitor AND s.day_ms = e.day_ms
    AND e.ts_ms >= s.start_ms AND (s.next_ms IS NULL OR e.ts_ms < s.next_ms)
  GROUP BY e.visitor, e.day_ms, s.visit
),
firsts AS (
  SELECT
    c.*,
    e.kind,
    e.page,
    e.country,
    e.browser,
    e.os,
    e.device,
    e.referrer,
    e.utm_source,
    e.utm_medium,
    e.utm_campaign,
    row_number() OVER (PARTITION BY c.visitor, c.day_ms, c.visit ORDER BY e.ts_ms, e.id) AS event_rank,
    row_number() OVER (PARTITION BY c.visitor, c.day_ms, c.visit, e.kind ORDER BY e.ts_ms, e.id) AS kind_rank,
    count(*) OVER (PARTITION BY c.visitor, c.day_ms, c.visit, e.kind) AS kind_count
  FROM counted AS c
  JOIN events AS e ON e.visitor = c.visitor AND e.day_ms = c.day_ms
    AND e.kind <> 'ping' AND (e.ts_ms = c.opened_ms OR e.ts_ms = c.entered_ms OR e.ts_ms = c.left_ms)
)
SELECT
  visitor,
  day_ms,
  CAST(visit AS BIGINT) AS visit,
  max(opened_ms) AS first_ms,
  max(ended_ms) - min(opened_ms) AS duration_ms,
  max(pageviews) AS pageviews,
  max(interactions) AS interactions,
  max(CASE WHEN kind = 'view' AND kind_rank = 1 THEN page END) AS entry_page,
  max(CASE WHEN kind = 'view' AND kind_rank = kind_count THEN page END) AS exit_page,
  max(CASE WHEN kind = 'view' AND kind_rank = 1 THEN referrer END) AS referrer,
  max(CASE WHEN kind = 'view' AND kind_rank = 1 THEN utm_source END) AS utm_source,
  max(CASE WHEN kind = 'view' AND kind_rank = 1 THEN utm_medium END) AS utm_medium,
  max(CASE WHEN kind = 'view' AND kind_rank = 1 THEN utm_campaign END) AS utm_campaign,
  max(CASE WHEN event_rank = 1 THEN country END) AS country,
  max(CASE WHEN event_rank = 1 THEN browser END) AS browser,
  max(CASE WHEN event_rank = 1 THEN os END) AS os,
  max(CASE WHEN event_rank = 1 THEN device END) AS device
FROM firsts
GROUP BY visitor, day_ms, visit
