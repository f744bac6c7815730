-- one row per page view of a UTC day's access logs, with the fields that the policy of that day grants
--
-- hits       page views, by the numbers of what was read; hit: their order in the logs
-- visitors, browsers, places, targets, referrers, services   what the numbers stand for
-- scope      one row per service of the policy, '' for the rest of the site: for each field whether it is
--            granted, and the step time is cut to
SELECT
  'view' AS kind,
  concat(s.id_prefix, lpad(CAST(h.hit AS STRING), 12, '0')) AS id,
  h.ts_ms - h.ts_ms % s.time_step_ms AS ts_ms,
  s.policy,
  s.purposes,
  nullif(s.service, '') AS service,
  CASE WHEN s.visitor THEN v.visitor END AS visitor,
  CASE WHEN s.device THEN b.device END AS device,
  CASE WHEN s.browser THEN b.browser END AS browser,
  CASE WHEN s.os THEN b.os END AS os,
  CASE WHEN s.browser_major THEN b.browser_major END AS browser_major,
  CASE WHEN s.country THEN p.country END AS country,
  CASE WHEN s.network THEN p.network END AS network,
  CASE WHEN s.path THEN t.path END AS path,
  CASE WHEN s.referrer THEN r.referrer END AS referrer,
  CASE WHEN s.utm_source THEN t.utm_source END AS utm_source,
  CASE WHEN s.utm_medium THEN t.utm_medium END AS utm_medium,
  CASE WHEN s.utm_campaign THEN t.utm_campaign END AS utm_campaign
FROM hits AS h
JOIN visitors AS v ON v.number = h.visitor
JOIN browsers AS b ON b.number = h.browser
JOIN places AS p ON p.number = h.place
JOIN targets AS t ON t.number = h.target
JOIN referrers AS r ON r.number = h.referrer
JOIN services AS e ON e.number = h.target
JOIN scope AS s ON s.service = e.service
ORDER BY ts_ms, id
