-- one row per page that was seen and per name of an event
SELECT DISTINCT
  kind,
  act
FROM acts
