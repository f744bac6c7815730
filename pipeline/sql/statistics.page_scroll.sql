-- one row per page; value: per cent of it scrolled to, at most 100 of each of 6 pages of a visitor-day
WITH deepest AS (
  SELECT
    unit,
    page,
    max(scroll) AS scroll
  FROM pings
  GROUP BY unit, page
)
SELECT
  c.page AS key,
  CAST(sum(least(greatest(d.scroll, 0), 100)) AS BIGINT) AS value
FROM chosen_pages AS c
JOIN deepest AS d ON d.unit = c.unit AND d.page = c.page
WHERE d.scroll IS NOT NULL
GROUP BY c.page
