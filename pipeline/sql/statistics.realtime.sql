-- one row per UTC hour; value: visitor-days first seen in it, as far as is known now, 1 each
--
-- Asked while the day is open, hour after hour. Records are added to an open day, or those of a pseudonym go
-- all together and none comes again: so what is known of a first event only moves to earlier hours, which are
-- released already, and a visitor-day is counted once at most.
SELECT
  lpad(CAST(CAST(floor(first_ms % 86400000 / 3600000) AS BIGINT) AS STRING), 2, '0') AS key,
  count(*) AS value
FROM visitor_days
GROUP BY lpad(CAST(CAST(floor(first_ms % 86400000 / 3600000) AS BIGINT) AS STRING), 2, '0')
