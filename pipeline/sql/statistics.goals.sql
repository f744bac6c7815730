-- one row per goal; value: visitor-days that reached it, at most 3 goals of a visitor-day
--
-- goals  what each page and event reaches
WITH reached AS (
  SELECT DISTINCT
    a.unit,
    g.goal
  FROM acts AS a
  JOIN goals AS g ON g.kind = a.kind AND g.act = a.act
),
ranked AS (
  SELECT
    r.goal,
    row_number() OVER (PARTITION BY r.unit ORDER BY md5(u.pseudonym || '|' || r.goal), r.goal) AS goal_rank
  FROM reached AS r
  JOIN units AS u ON u.unit = r.unit
)
SELECT
  goal AS key,
  count(*) AS value
FROM ranked
WHERE goal_rank <= 3
GROUP BY goal
