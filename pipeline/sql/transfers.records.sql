-- one row per record of a visitor; of one visitor where `subject` names one
SELECT r.*
FROM records AS r
CROSS JOIN subject
WHERE r.kind IN ('view', 'event', 'ping')
  AND r.visitor IS NOT NULL
  AND (subject.visitor IS NULL OR subject.visitor = r.visitor)
ORDER BY r.ts_ms, r.id
