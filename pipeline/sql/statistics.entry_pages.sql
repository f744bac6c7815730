-- one row per page; value: visitor-days whose first visit began there, 1 each
SELECT
  entry_page AS key,
  count(*) AS value
FROM visitor_days
WHERE entry_page IS NOT NULL
GROUP BY entry_page
