-- one row per page; value: visitor-days that saw it, at most 6 pages of a visitor-day
--
-- Which 6 is decided by a hash of the visitor's own rows, the same on every engine: a choice that looked
-- at other visitors would let one of them change the pages of all.
WITH seen AS (
  SELECT DISTINCT
    visitor,
    day_ms,
    page
  FROM events
  WHERE kind = 'view' AND page IS NOT NULL
),
ranked AS (
  SELECT
    page,
    row_number() OVER (
      PARTITION BY visitor, day_ms ORDER BY md5(pseudonym || '|' || page), page
    ) AS page_rank
  FROM seen
  JOIN numbers ON number = visitor
)
SELECT
  page AS key,
  count(*) AS value
FROM ranked
WHERE page_rank <= 6
GROUP BY page
