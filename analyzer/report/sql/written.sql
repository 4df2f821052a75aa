-- The start of the newest period that was written, 1970: none.
SELECT max(start) FROM reports_written WHERE kind = {kind:String} AND target = {target:String}
