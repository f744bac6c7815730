-- one row per (visitor, day_ms) with a visit: the unit whose part in every statistic is bounded
WITH ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY visitor, day_ms ORDER BY visit) AS visit_rank
  FROM visits
)
SELECT
  visitor,
  day_ms,
  count(*) AS visits,
  CAST(sum(pageviews) AS BIGINT) AS pageviews,
  max(CASE WHEN visit_rank = 1 AND pageviews = 1 AND interactions = 0 THEN 1 ELSE 0 END) AS is_bounced,
  max(CASE WHEN visit_rank = 1 THEN entry_page END) AS entry_page,
  max(CASE WHEN visit_rank = 1 THEN country END) AS country,
  max(CASE WHEN visit_rank = 1 THEN browser END) AS browser,
  max(CASE WHEN visit_rank = 1 THEN device END) AS device
FROM ranked
GROUP BY visitor, day_ms
