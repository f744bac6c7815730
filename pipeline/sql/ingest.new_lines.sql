-- one row per id that the day does not hold yet; line: of the batch's first record with that id
--
-- batch  records as they stood in the logs; line: their order
-- seen   ids of the day's earlier batches
SELECT
  min(batch.line) AS line,
  batch.id
FROM batch
WHERE NOT EXISTS (SELECT 1 FROM seen WHERE seen.id = batch.id)
GROUP BY batch.id
