-- one row per page; value: visitor-days that saw it, at most 6 pages of a visitor-day
SELECT
  page AS key,
  count(*) AS value
FROM chosen_pages
GROUP BY page
