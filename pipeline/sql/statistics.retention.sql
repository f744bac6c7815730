-- one row per number of weeks since consent; value: long-lived pseudonyms seen in the week, 1 each
--
-- weeks  the ISO weeks of the window and before: how long ago each is
SELECT
  coalesce(w.age, '12+') AS key,
  count(*) AS value
FROM cohorts AS c
LEFT JOIN weeks AS w ON w.cohort = c.cohort
GROUP BY coalesce(w.age, '12+')
