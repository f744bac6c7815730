-- one row per page view and per event that has a name: what a goal, or a step of a funnel, can be
WITH named AS (
  SELECT
    unit,
    ts_ms,
    kind,
    CASE WHEN kind = 'view' THEN page ELSE name END AS act
  FROM scoped
  WHERE kind IN ('view', 'event')
)
SELECT *
FROM named
WHERE act IS NOT NULL
