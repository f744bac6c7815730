-- one row per distinct source, medium and campaign of a first visit
SELECT DISTINCT
  coalesce(utm_source, referrer, '') AS source,
  coalesce(utm_medium, '') AS medium,
  coalesce(utm_campaign, '') AS campaign
FROM visitor_days
