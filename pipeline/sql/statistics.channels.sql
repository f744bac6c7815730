-- one row per channel; value: visitor-days whose first visit came through it, 1 each
--
-- channels  the channel of every source, medium and campaign there is
SELECT
  c.channel AS key,
  count(*) AS value
FROM visitor_days AS v
JOIN channels AS c
  ON c.source = coalesce(v.utm_source, v.referrer, '')
  AND c.medium = coalesce(v.utm_medium, '')
  AND c.campaign = coalesce(v.utm_campaign, '')
GROUP BY c.channel
