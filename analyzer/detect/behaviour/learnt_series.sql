-- The series that forecasts are made of.
SELECT site, name, since, series FROM (/*series*/)
