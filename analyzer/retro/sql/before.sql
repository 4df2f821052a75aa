-- Whether values were seen before the first day of which flows are stored.
SELECT count() > 0 FROM (SELECT 1 FROM first_seen_values AS f WHERE kind IN ('sni', 'ja3', 'ja4', 'hassh', 'hassh_server', 'certificate') AND f.first < {early:DateTime('UTC')} LIMIT 1)
