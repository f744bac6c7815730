-- one row; value: visitor-days with more than the 10 page views that count, 1 each
SELECT
  CAST(NULL AS STRING) AS key,
  count(CASE WHEN pageviews > 10 THEN 1 END) AS value
FROM visitor_days
