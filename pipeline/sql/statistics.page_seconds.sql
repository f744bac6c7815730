-- one row per page; value: seconds it was visible and focused, at most 120 of each of 6 pages of a visitor-day
WITH attended AS (
  SELECT
    unit,
    page,
    sum(engaged_ms) AS engaged_ms
  FROM pings
  GROUP BY unit, page
)
SELECT
  c.page AS key,
  CAST(sum(least(greatest(floor(a.engaged_ms / 1000), 0), 120)) AS BIGINT) AS value
FROM chosen_pages AS c
JOIN attended AS a ON a.unit = c.unit AND a.page = c.page
WHERE a.engaged_ms IS NOT NULL
GROUP BY c.page
