-- one row; value: visits, at most 2 of a visitor-day
SELECT
  CAST(NULL AS STRING) AS key,
  CAST(coalesce(sum(least(visits, 2)), 0) AS BIGINT) AS value
FROM visitor_days
