-- one row per operating system; value: visitor-days whose first event came from it, 1 each
SELECT
  coalesce(os, '(unknown)') AS key,
  count(*) AS value
FROM visitor_days
GROUP BY coalesce(os, '(unknown)')
