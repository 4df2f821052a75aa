-- What merges make of 4 MB in memory, 7000 rows, is wide; what is inserted stays one
-- file. Whoever reads a few columns of the last minutes, as detectors do, reads compact
-- parts at three times the cost of wide ones: every column of a granule is a block of its own.
ALTER TABLE flows MODIFY SETTING min_level_for_wide_part = 1, min_bytes_for_wide_part = 4194304;
