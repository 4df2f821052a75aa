INSERT INTO job_runs (detector, version, window_start, window_end, revision, rows, closed, alerts, took_ms, error, ran)
SELECT {detector:String}, {version:UInt16}, {from:DateTime('UTC')}, {to:DateTime('UTC')}, 1, {rows:UInt64}, 1, {alerts:UInt32}, 0, '', {ran:DateTime64(9, 'UTC')}
