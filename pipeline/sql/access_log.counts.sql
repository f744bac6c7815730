-- one row per (day, outcome, category of bot) of a batch: its lines, counted, and the first and last of them
SELECT
  min(number) AS first,
  max(number) AS last,
  day_ms,
  outcome,
  coalesce(bot, '') AS bot,
  count(*) AS count
FROM outcomes
GROUP BY day_ms, outcome, bot
