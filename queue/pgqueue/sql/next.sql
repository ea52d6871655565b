-- The next id and the next number of a replay.
SELECT (SELECT next_id FROM trackd.account WHERE side = 'in'), (SELECT next_id FROM trackd.account WHERE side = 'out')
