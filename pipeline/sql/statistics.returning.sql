-- one row per kind of visitor; value: long-lived pseudonyms, each once, however many of the days they came
--
-- weeks  the ISO weeks of the window and before: how long ago each is
SELECT
  CASE WHEN w.age = '0' THEN 'new' ELSE 'returning' END AS key,
  count(*) AS value
FROM cohorts AS c
LEFT JOIN weeks AS w ON w.cohort = c.cohort
GROUP BY CASE WHEN w.age = '0' THEN 'new' ELSE 'returning' END
