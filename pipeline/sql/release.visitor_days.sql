-- one row per (visitor, day_ms) with a visit: the unit whose part in every statistic is bounded
WITH ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY visitor, day_ms ORDER BY visit) AS visit_rank,
    count(*) OVER (PARTITION BY visitor, day_ms) AS visit_count
  FROM visits
)
SELECT
  visitor,
  day_ms,
  count(*) AS visits,
  CAST(sum(pageviews) AS BIGINT) AS pageviews,
  max(CASE WHEN visit_rank = 1 AND pageviews = 1 AND interactions = 0 THEN 1 ELSE 0 END) AS is_bounced,
  max(CASE WHEN visit_rank = 1 THEN first_ms END) AS first_ms,
  max(CASE WHEN visit_rank = 1 THEN duration_ms END) AS duration_ms,
  max(CASE WHEN visit_rank = 1 THEN entry_page END) AS entry_page,
  max(CASE WHEN visit_rank = visit_count THEN exit_page END) AS exit_page,
  max(CASE WHEN visit_rank = 1 THEN referrer END) AS referrer,
  max(CASE WHEN visit_rank = 1 THEN utm_source END) AS utm_source,
  max(CASE WHEN visit_rank = 1 THEN utm_medium END) AS utm_medium,
  max(CASE WHEN visit_rank = 1 THEN utm_campaign END) AS utm_campaign,
  max(CASE WHEN visit_rank = 1 THEN country END) AS country,
  max(CASE WHEN visit_rank = 1 THEN browser END) AS browser,
  max(CASE WHEN visit_rank = 1 THEN os END) AS os,
  max(CASE WHEN visit_rank = 1 THEN device END) AS device
FROM ranked
GROUP BY visitor, day_ms
