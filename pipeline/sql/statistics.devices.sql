-- one row per device; value: visitor-days whose first event came from it, 1 each
SELECT
  coalesce(device, '(unknown)') AS key,
  count(*) AS value
FROM visitor_days
GROUP BY coalesce(device, '(unknown)')
