-- one row per page that a unit saw, at most 6 of each
--
-- Which 6 is decided by a hash of the visitor's own rows, the same on every engine: a choice that looked
-- at other visitors would let one of them change the pages of all. Few see more, and only theirs are hashed.
WITH seen AS (
  SELECT DISTINCT
    unit,
    page
  FROM events
  WHERE kind = 'view' AND page IS NOT NULL
),
above AS (
  SELECT unit
  FROM seen
  GROUP BY unit
  HAVING count(*) > 6
),
ranked AS (
  SELECT
    s.unit,
    s.page,
    row_number() OVER (PARTITION BY s.unit ORDER BY md5(u.pseudonym || '|' || s.page), s.page) AS page_rank
  FROM seen AS s
  JOIN above AS a ON a.unit = s.unit
  JOIN units AS u ON u.unit = s.unit
)
SELECT
  unit,
  page
FROM ranked
WHERE page_rank <= 6
UNION ALL
SELECT
  unit,
  page
FROM seen
WHERE unit NOT IN (SELECT unit FROM above)
