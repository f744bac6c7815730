-- one row per id that the day does not hold yet: the first of the batch's records with that id
--
-- batch  records as they stood in the logs; line: their order
-- seen   ids of the day's earlier batches
SELECT * EXCLUDE (line, copy) REPLACE (coalesce(purposes, []) AS purposes)
FROM (
  SELECT
    *,
    row_number() OVER (PARTITION BY id ORDER BY line) AS copy
  FROM batch
) AS b
WHERE copy = 1
  AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.id = b.id)
ORDER BY ts_ms, id
