-- one row per bin of seconds; value: visitor-days whose first visit lasted so long, 1 each
SELECT
  b.key,
  count(*) AS value
FROM visitor_days AS v
JOIN bins AS b ON v.duration_ms >= b.low_ms AND v.duration_ms < b.high_ms
GROUP BY b.key
