-- one row per bin of seconds; value: visitor-days whose first visit was looked at for so long, 1 each
WITH attended AS (
  SELECT
    v.unit,
    greatest(coalesce(sum(p.engaged_ms), 0), 0) AS engaged_ms
  FROM visitor_days AS v
  LEFT JOIN pings AS p
    ON p.unit = v.unit
    AND p.ts_ms >= v.first_ms
    AND p.ts_ms <= v.first_ms + v.duration_ms
  GROUP BY v.unit
)
SELECT
  b.key,
  count(*) AS value
FROM attended AS a
JOIN bins AS b ON a.engaged_ms >= b.low_ms AND a.engaged_ms < b.high_ms
GROUP BY b.key
