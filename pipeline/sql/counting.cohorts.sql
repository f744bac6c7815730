-- one row per visitor with a long-lived pseudonym and week of consent, however many days they came
--
-- A visitor-day has one week, whatever cookies are sent on it: so it is of one row at most.
WITH weeks_of AS (
  SELECT
    unit,
    min(cohort) AS cohort
  FROM scoped
  WHERE cohort IS NOT NULL
  GROUP BY unit
)
SELECT DISTINCT
  u.pseudonym,
  w.cohort
FROM weeks_of AS w
JOIN units AS u ON u.unit = w.unit
JOIN visitor_days AS v ON v.unit = w.unit
