INSERT INTO job_runs (detector, version, window_start, window_end, revision, rows, closed, alerts, took_ms, error, ran)
SELECT {detector:String}, {version:UInt16}, toDateTime(d, 'UTC'), toDateTime(d + 86400, 'UTC'), 1, 0, 1,
    0, 0, '', {ran:DateTime64(9, 'UTC')}
FROM (SELECT arrayJoin({days:Array(Int64)}) AS d)
