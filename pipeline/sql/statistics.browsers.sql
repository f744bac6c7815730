-- one row per browser; value: visitor-days whose first event came from it, 1 each
SELECT
  coalesce(browser, '(unknown)') AS key,
  count(*) AS value
FROM visitor_days
GROUP BY coalesce(browser, '(unknown)')
