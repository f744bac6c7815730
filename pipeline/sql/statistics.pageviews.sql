-- one row; value: page views, at most 10 of a visitor-day
SELECT
  CAST(NULL AS STRING) AS key,
  CAST(coalesce(sum(least(pageviews, 10)), 0) AS BIGINT) AS value
FROM visitor_days
