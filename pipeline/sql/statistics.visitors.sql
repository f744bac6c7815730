-- one row; value: visitor-days, 1 each
SELECT
  CAST(NULL AS STRING) AS key,
  count(*) AS value
FROM visitor_days
