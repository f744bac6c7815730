-- one row per (visitor, day_ms, visit); visit numbers ascend in time
--
-- A visit ends after 30 minutes without an event and at UTC midnight. A ping keeps a visit open and opens
-- none. Stretches without a gap are cut first, then the pings a stretch begins with are dropped: whatever
-- follows such a ping within 30 minutes is more than 30 minutes after the visit before it.
-- Where time is coarse, a ping counts as later than the view of the same instant.
WITH gaps AS (
  SELECT
    *,
    CASE WHEN kind = 'ping' THEN 1 ELSE 0 END AS is_ping,
    CASE
      WHEN ts_ms - lag(ts_ms) OVER (
        PARTITION BY visitor, day_ms ORDER BY ts_ms, CASE WHEN kind = 'ping' THEN 1 ELSE 0 END, id
      ) <= 1800000 THEN 0
      ELSE 1
    END AS is_start
  FROM events
),
stretches AS (
  SELECT
    *,
    sum(is_start) OVER (
      PARTITION BY visitor, day_ms ORDER BY ts_ms, is_ping, id
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS visit
  FROM gaps
),
opened AS (
  SELECT
    *,
    min(is_ping) OVER (
      PARTITION BY visitor, day_ms, visit ORDER BY ts_ms, is_ping, id
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS is_unopened
  FROM stretches
),
ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY visitor, day_ms, visit ORDER BY ts_ms, is_ping, id) AS event_rank,
    row_number() OVER (PARTITION BY visitor, day_ms, visit, kind ORDER BY ts_ms, id) AS kind_rank,
    count(*) OVER (PARTITION BY visitor, day_ms, visit, kind) AS kind_count
  FROM opened
  WHERE is_unopened = 0
)
SELECT
  visitor,
  day_ms,
  CAST(visit AS BIGINT) AS visit,
  min(ts_ms) AS first_ms,
  max(ts_ms) - min(ts_ms) AS duration_ms,
  count(CASE WHEN kind = 'view' THEN 1 END) AS pageviews,
  -- An event counts as engagement unless it was sent with interactive = false.
  count(CASE WHEN kind = 'event' AND coalesce(interactive, TRUE) THEN 1 END) AS interactions,
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
FROM ranked
GROUP BY visitor, day_ms, visit
