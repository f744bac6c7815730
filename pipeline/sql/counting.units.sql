-- one row per visitor-day of `records`: a pseudonym on one UTC day; unit: the number that stands for it
-- within one window, and ranks nothing
--
-- A number is joined and put in order in half the time that a text and a day take.
SELECT
  visitor AS pseudonym,
  day_ms,
  row_number() OVER (ORDER BY visitor, day_ms) AS unit
FROM (
  SELECT DISTINCT
    visitor,
    ts_ms - ts_ms % 86400000 AS day_ms
  FROM records
  WHERE visitor IS NOT NULL
) AS known
