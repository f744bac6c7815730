-- one row per outcome of the first visit of a visitor-day; value: visitor-days, 1 each
SELECT
  CASE WHEN is_bounced = 1 THEN 'bounced' ELSE 'stayed' END AS key,
  count(*) AS value
FROM visitor_days
GROUP BY is_bounced
