-- one row per event that the purpose `statistics` may use, with the fields it may see
--
-- records  private events of the days of `span`
-- scope    one row per (policy version, version consented to): for each field whether the purpose reaches
--          it, and the step its time is cut to
-- span     one row: first millisecond, first millisecond after
-- units    what stands for each visitor-day
SELECT
  r.id,
  r.kind,
  u.unit,
  r.ts_ms - r.ts_ms % s.time_step_ms AS ts_ms,
  CASE WHEN s.path AND r.path IS NOT NULL THEN r.path WHEN s.route THEN r.route END AS page,
  CASE WHEN s.interactive THEN r.interactive END AS interactive,
  CASE WHEN s.name THEN r.name END AS name,
  CASE WHEN s.engaged_ms THEN r.engaged_ms END AS engaged_ms,
  CASE WHEN s.scroll THEN r.scroll END AS scroll,
  CASE WHEN s.cohort THEN r.cohort END AS cohort,
  CASE WHEN s.country THEN r.country END AS country,
  CASE WHEN s.browser THEN r.browser END AS browser,
  CASE WHEN s.os THEN r.os END AS os,
  CASE WHEN s.device THEN r.device END AS device,
  CASE WHEN s.referrer THEN r.referrer END AS referrer,
  CASE WHEN s.utm_source THEN r.utm_source END AS utm_source,
  CASE WHEN s.utm_medium THEN r.utm_medium END AS utm_medium,
  CASE WHEN s.utm_campaign THEN r.utm_campaign END AS utm_campaign
FROM records AS r
JOIN scope AS s ON s.policy = r.policy AND s.consent = coalesce(r.consent, '')
JOIN units AS u ON u.pseudonym = r.visitor AND u.day_ms = r.ts_ms - r.ts_ms % 86400000
WHERE r.kind IN ('view', 'event', 'ping')
  AND array_contains(r.purposes, 'statistics')
  AND s.visitor
  AND r.ts_ms >= (SELECT start_ms FROM span)
  AND r.ts_ms < (SELECT end_ms FROM span)
