-- one row per (day, outcome, category of bot) of a batch; lines: their count
SELECT
  day_ms,
  outcome,
  bot,
  count(*) AS lines
FROM outcomes
GROUP BY day_ms, outcome, bot
