-- How many actions were begun since a time.
SELECT uniqExact(id) FROM response_steps WHERE state = 'applying' AND attempts = 1 AND at >= {since:DateTime64(3, 'UTC')}
