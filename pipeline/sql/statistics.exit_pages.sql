-- one row per page; value: visitor-days whose last visit ended there, 1 each
SELECT
  exit_page AS key,
  count(*) AS value
FROM visitor_days
WHERE exit_page IS NOT NULL
GROUP BY exit_page
