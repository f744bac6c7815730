-- one row per page view of the days that are taken, by the numbers of what was read
SELECT
  v.number,
  v.ts_ms,
  v.day_ms,
  u.visitor,
  a.browser,
  p.place,
  t.target,
  r.number AS referrer
FROM views AS v
JOIN visitors AS u ON u.day_ms = v.day_ms AND u.address = v.address AND u.agent = v.agent
JOIN agents AS a ON a.agent = v.agent
JOIN places AS p ON p.address = v.address
JOIN targets AS t ON t.request = v.request
JOIN referrers AS r ON r.referrer = v.referrer
