-- one row per linking host; value: visitor-days whose first visit came from there, 1 each
SELECT
  coalesce(referrer, '(none)') AS key,
  count(*) AS value
FROM visitor_days
GROUP BY coalesce(referrer, '(none)')
