-- one row per UTC hour; value: visitor-days whose first event fell into it, 1 each
SELECT
  lpad(CAST(CAST(floor(first_ms % 86400000 / 3600000) AS BIGINT) AS STRING), 2, '0') AS key,
  count(*) AS value
FROM visitor_days
GROUP BY lpad(CAST(CAST(floor(first_ms % 86400000 / 3600000) AS BIGINT) AS STRING), 2, '0')
