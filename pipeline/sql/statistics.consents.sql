-- one row per answer; value: first choices of browsers, at most 1 of a pseudonym and UTC day
--
-- A refusal has no pseudonym: it is a unit of its own.
WITH ranked AS (
  SELECT
    r.act,
    r.visitor,
    row_number() OVER (PARTITION BY r.visitor, r.ts_ms - r.ts_ms % 86400000 ORDER BY r.ts_ms, r.id) AS choice_rank
  FROM records AS r
  CROSS JOIN span
  WHERE r.kind = 'consent'
    AND r.first
    AND r.act IN ('grant', 'refuse')
    AND r.ts_ms >= span.start_ms
    AND r.ts_ms < span.end_ms
)
SELECT
  CASE WHEN act = 'grant' THEN 'granted' ELSE 'refused' END AS key,
  count(*) AS value
FROM ranked
WHERE visitor IS NULL OR choice_rank = 1
GROUP BY act
