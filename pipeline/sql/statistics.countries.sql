-- one row per country; value: visitor-days whose first event came from it, 1 each
SELECT
  coalesce(country, '(unknown)') AS key,
  count(*) AS value
FROM visitor_days
GROUP BY coalesce(country, '(unknown)')
