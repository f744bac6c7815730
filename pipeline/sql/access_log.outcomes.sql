-- one row per line of a batch, with its UTC day and what it is: malformed, bot, asset, other or view
--
-- lines      number: their order in the batch
-- fields     the fields of those lines that fit the format
-- minutes, seconds, agents, requests   what the fields mean; NULL where a time is none
-- statuses   of answers that show a page
-- before     one row: the day of the line before the batch. A malformed line goes with the line before it.
WITH timed AS (
  SELECT
    f.number,
    m.ts_ms + s.ms AS ts_ms,
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
)
SELECT
  l.number,
  t.ts_ms,
  coalesce(
    last_value(t.ts_ms - t.ts_ms % 86400000 IGNORE NULLS) OVER (
      ORDER BY l.number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ),
    before.day_ms
  ) AS day_ms,
  coalesce(t.outcome, 'malformed') AS outcome,
  t.bot
FROM lines AS l
LEFT JOIN timed AS t ON t.number = l.number
CROSS JOIN before
