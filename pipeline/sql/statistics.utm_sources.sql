-- one row per campaign source; value: visitor-days whose first visit it brought, 1 each
SELECT
  coalesce(utm_source, '(none)') AS key,
  count(*) AS value
FROM visitor_days
GROUP BY coalesce(utm_source, '(none)')
