-- one row per bin of seconds; value: visitor-days whose first visit lasted so long, 1 each
WITH binned AS (
  SELECT
    CASE
      WHEN duration_ms < 3000 THEN '0-3 s'
      WHEN duration_ms < 10000 THEN '3-10 s'
      WHEN duration_ms < 30000 THEN '10-30 s'
      WHEN duration_ms < 60000 THEN '30-60 s'
      WHEN duration_ms < 120000 THEN '60-120 s'
      WHEN duration_ms < 300000 THEN '120-300 s'
      WHEN duration_ms < 600000 THEN '300-600 s'
      WHEN duration_ms < 1200000 THEN '600-1200 s'
      WHEN duration_ms < 1800000 THEN '1200-1800 s'
      ELSE '1800+ s'
    END AS bin
  FROM visitor_days
)
SELECT
  bin AS key,
  count(*) AS value
FROM binned
GROUP BY bin
