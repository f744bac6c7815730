-- one row per line that is read without doubt: its fields
--
-- lines   number: their order in the batch; line
-- form    one row: whether the format is combined
-- Without a backslash a quote ends a field wherever it stands, so a line is cut at its quotes. What is kept
-- here the format's pattern would read alike (a test says so); it decides on every other line.
WITH cut AS (
  SELECT
    number,
    string_split(line, '"') AS part
  FROM lines
  WHERE NOT contains(line, '\')
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
CROSS JOIN form
WHERE regexp_full_match(part[1], '[^ \t\n\v\f\r]+ [^\[]*\[[^\]]{26}\] ')
  AND CASE
    WHEN is_combined THEN regexp_full_match(part[3], ' [0-9]{3} ([0-9]+|-) ')
      AND part[5] = ' '
      AND (len(part) = 7 AND part[7] = '' OR part[7][1] IN (' ', chr(13)))
    ELSE regexp_full_match(part[3], ' [0-9]{3} ([0-9]+|-)\r?') AND len(part) = 3
  END
  AND greatest(length(part[2]), length(part[4]), length(part[6])) <= 8192
