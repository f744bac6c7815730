-- one row per (visitor, day_ms, visit); visit numbers ascend in time
--
-- A visit ends after 30 minutes without an event and at UTC midnight. A ping keeps a visit open and opens
-- none. Stretches without a gap are cut first, then the pings a stretch begins with are dropped: whatever
-- follows such a ping within 30 minutes is more than 30 minutes after the visit before it.
-- Where time is coarse, a ping counts as later than the view of the same instant.
WITH gaps AS (
  SELECT
    *,
    row_number() OVER (
      PARTITION BY visitor, day_ms ORDER BY ts_ms, CASE WHEN kind = 'ping' THEN 1 ELSE 0 END, id
    ) AS place,
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
      PARTITION BY visitor, day_ms ORDER BY place
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS visit
  FROM gaps
),
opened AS (
  SELECT
    *,
    min(CASE WHEN kind <> 'ping' THEN place END) OVER (PARTITION BY visitor, day_ms, visit) AS first_place,
    min(CASE WHEN kind = 'view' THEN place END) OVER (PARTITION BY visitor, day_ms, visit) AS entry_place
  FROM stretches
)
SELECT
  visitor,
  day_ms,
  CAST(visit AS BIGINT) AS visit,
  max(ts_ms) - min(ts_ms) AS duration_ms,
  count(CASE WHEN kind = 'view' THEN 1 END) AS pageviews,
  -- An event counts as engagement unless it was sent with interactive = false.
  count(CASE WHEN kind = 'event' AND coalesce(interactive, TRUE) THEN 1 END) AS interactions,
  max(CASE WHEN place = entry_place THEN page END) AS entry_page,
  max(CASE WHEN place = first_place THEN country END) AS country,
  max(CASE WHEN place = first_place THEN browser END) AS browser,
  max(CASE WHEN place = first_place THEN device END) AS device
FROM opened
WHERE place >= first_place
GROUP BY visitor, day_ms, visit
