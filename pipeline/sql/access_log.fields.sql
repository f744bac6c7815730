-- one row per line that may be cut at its quotes: its fields
--
-- lines   number: their order in the batch; line
-- form    one row: whether the format is combined
-- Where no field holds a quote or a backslash, and none is unusually long, the pattern of the format would
-- read the same (a test says so). It decides on every other line.
WITH cut AS (
  SELECT
    number,
    is_combined,
    string_split(line, '"') AS part
  FROM lines
  CROSS JOIN form
  WHERE strlen(line) <= 8192
    AND CASE
      WHEN is_combined THEN regexp_full_match(
        line,
        '[^ \t\n\v\f\r"]+ [^\["]*\[[^\]"]{26}\] "[^"\\]*" [0-9]{3} ([0-9]+|-) "[^"\\]*" "[^"\\]*"([ \r].*)?'
      )
      ELSE regexp_full_match(
        line, '[^ \t\n\v\f\r"]+ [^\["]*\[[^\]"]{26}\] "[^"\\]*" [0-9]{3} ([0-9]+|-)\r?'
      )
    END
)
SELECT
  number,
  split_part(part[1], ' ', 1) AS address,
  substr(part[1], instr(part[1], '[') + 1, 17) AS minute,
  substr(part[1], instr(part[1], '[') + 18, 3) AS second,
  substr(part[1], instr(part[1], '[') + 21, 6) AS zone,
  part[2] AS request,
  substr(part[3], 2, 3) AS status,
  CASE WHEN is_combined THEN part[4] ELSE '' END AS referrer,
  CASE WHEN is_combined THEN part[6] ELSE '' END AS agent
FROM cut
