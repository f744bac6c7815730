-- one row per step; value: visitor-days that came so far along its funnel and no further, 1 each in a funnel
--
-- steps  what each page and event is a step of
WITH RECURSIVE walked AS (
  SELECT
    a.unit,
    a.ts_ms,
    s.funnel,
    s.step
  FROM acts AS a
  JOIN steps AS s ON s.kind = a.kind AND s.act = a.act
),
reached AS (
  SELECT
    unit,
    funnel,
    step,
    min(ts_ms) AS ts_ms
  FROM walked
  WHERE step = 1
  GROUP BY unit, funnel, step
  UNION ALL
  SELECT
    w.unit,
    w.funnel,
    w.step,
    min(w.ts_ms) AS ts_ms
  FROM reached AS r
  JOIN walked AS w
    ON w.unit = r.unit
    AND w.funnel = r.funnel
    AND w.step = r.step + 1
    AND w.ts_ms >= r.ts_ms
  GROUP BY w.unit, w.funnel, w.step
),
furthest AS (
  SELECT
    unit,
    funnel,
    max(step) AS step
  FROM reached
  GROUP BY unit, funnel
),
names AS (
  SELECT DISTINCT
    funnel,
    step,
    key
  FROM steps
)
SELECT
  n.key,
  count(*) AS value
FROM furthest AS f
JOIN names AS n ON n.funnel = f.funnel AND n.step = f.step
GROUP BY n.key
