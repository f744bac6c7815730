-- one row per recorded choice of a visitor who can be told from others
SELECT r.id, r.visitor, r.ts_ms, r.act, coalesce(r.via, 'form'), coalesce(r.consent, r.policy), r.purposes, r.service
FROM records AS r
WHERE r.kind = 'consent' AND r.visitor IS NOT NULL AND r.act IS NOT NULL
ORDER BY r.ts_ms, r.id
