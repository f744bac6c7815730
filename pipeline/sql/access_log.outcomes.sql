-- one row per line that fits the format and has a time: its UTC day and what it is: bot, asset, other or view
--
-- fields     the fields of those lines that fit the format
-- minutes, seconds, agents, requests   what the fields mean; NULL where a time is none
-- statuses   of answers that show a page
SELECT
  f.number,
  m.ts_ms + s.ms AS ts_ms,
  m.ts_ms - m.ts_ms % 86400000 AS day_ms,
  CASE
    WHEN a.bot <> '' THEN 'bot'
    WHEN r.kind <> 'page' THEN r.kind
    WHEN f.status NOT IN (SELECT status FROM statuses) THEN 'other'
    ELSE 'view'
  END AS outcome,
  a.bot
FROM fields AS f
JOIN minutes AS m ON m.minute = f.minute AND m.zone = f.zone
JOIN seconds AS s ON s.second = f.second
JOIN agents AS a ON a.agent = f.agent
JOIN requests AS r ON r.request = f.request
WHERE m.ts_ms IS NOT NULL AND s.ms IS NOT NULL
