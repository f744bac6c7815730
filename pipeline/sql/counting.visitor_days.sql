-- one row per unit with a visit: the visitor-day whose part in every statistic is bounded
--
-- What its first and last events say is looked up in the end: putting in order what every event says takes
-- three times as long. Of events of one instant the one with the least id is the first.
WITH ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY unit ORDER BY visit) AS visit_rank,
    count(*) OVER (PARTITION BY unit) AS visit_count
  FROM visits
),
days AS (
  SELECT
    unit,
    count(*) AS visits,
    CAST(sum(pageviews) AS BIGINT) AS pageviews,
    max(CASE WHEN visit_rank = 1 AND pageviews = 1 AND interactions = 0 THEN 1 ELSE 0 END) AS is_bounced,
    max(CASE WHEN visit_rank = 1 THEN first_ms END) AS first_ms,
    max(CASE WHEN visit_rank = 1 THEN duration_ms END) AS duration_ms,
    max(CASE WHEN visit_rank = 1 THEN entered_ms END) AS entered_ms,
    max(CASE WHEN visit_rank = visit_count THEN left_ms END) AS left_ms
  FROM ranked
  GROUP BY unit
),
said AS (
  SELECT
    d.*,
    e.id,
    e.ts_ms,
    e.kind,
    e.page,
    e.country,
    e.browser,
    e.os,
    e.device,
    e.referrer,
    e.utm_source,
    e.utm_medium,
    e.utm_campaign
  FROM events AS e
  JOIN days AS d ON d.unit = e.unit
    AND e.kind <> 'ping' AND (e.ts_ms = d.first_ms OR e.ts_ms = d.entered_ms OR e.ts_ms = d.left_ms)
),
ends AS (
  SELECT
    unit,
    min(CASE WHEN ts_ms = first_ms THEN id END) AS first_id,
    min(CASE WHEN kind = 'view' AND ts_ms = entered_ms THEN id END) AS entry_id,
    max(CASE WHEN kind = 'view' AND ts_ms = left_ms THEN id END) AS exit_id
  FROM said
  GROUP BY unit
)
SELECT
  s.unit,
  max(s.visits) AS visits,
  max(s.pageviews) AS pageviews,
  max(s.is_bounced) AS is_bounced,
  max(s.first_ms) AS first_ms,
  max(s.duration_ms) AS duration_ms,
  max(CASE WHEN s.id = x.entry_id THEN s.page END) AS entry_page,
  max(CASE WHEN s.id = x.exit_id THEN s.page END) AS exit_page,
  max(CASE WHEN s.id = x.entry_id THEN s.referrer END) AS referrer,
  max(CASE WHEN s.id = x.entry_id THEN s.utm_source END) AS utm_source,
  max(CASE WHEN s.id = x.entry_id THEN s.utm_medium END) AS utm_medium,
  max(CASE WHEN s.id = x.entry_id THEN s.utm_campaign END) AS utm_campaign,
  max(CASE WHEN s.id = x.first_id THEN s.country END) AS country,
  max(CASE WHEN s.id = x.first_id THEN s.browser END) AS browser,
  max(CASE WHEN s.id = x.first_id THEN s.os END) AS os,
  max(CASE WHEN s.id = x.first_id THEN s.device END) AS device
FROM said AS s
JOIN ends AS x ON x.unit = s.unit
GROUP BY s.unit
