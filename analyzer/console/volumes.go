package console

// volumes is what top and timeseries add up: the rollup flows_1m for the hours
// whose build holds every row that batches promises, and the raw flows for the
// others, so that the sums are those of the raw flows in either case. It needs
// from and to in whole minutes.
//
// Columns: t, app, src_ip, dst_ip, dst_port, protocol, and per row the sums
// flows, packets, bytes, frame_bytes, src_bytes, dst_bytes.
const (
	volumesHead = `WITH clean AS (
	SELECT built.bucket AS bucket
	FROM (SELECT bucket, argMax(raw_rows, build) AS raw_rows FROM rollup_builds WHERE rollup = 'flows_1m' GROUP BY bucket) AS built
	INNER JOIN (
		SELECT toStartOfHour(toDateTime(minute * 60, 'UTC')) AS bucket, toUInt64(sum(n)) AS promised
		FROM (SELECT minutes, minute_rows FROM batches FINAL WHERE status = 'stored')
		ARRAY JOIN minutes AS minute, minute_rows AS n
		GROUP BY bucket
	) AS promise ON promise.bucket = built.bucket
	WHERE promise.promised = built.raw_rows
)
`
	volumesRollup = `SELECT minute AS t, app, src_ip, dst_ip, dst_port, protocol, flows AS f, src_packets + dst_packets AS p, src_bytes + dst_bytes AS b,
		src_frame_bytes + dst_frame_bytes AS fb, src_bytes AS sb, dst_bytes AS db
	FROM flows_1m
	WHERE minute >= {from:DateTime64(9, 'UTC')} AND minute < {to:DateTime64(9, 'UTC')} AND toStartOfHour(minute) IN (SELECT bucket FROM clean)`
	volumesRaw = `SELECT toDateTime(start, 'UTC') AS t, app, src_ip, dst_ip, dst_port, protocol, toUInt64(segment = 0) AS f, src_packets + dst_packets AS p, src_bytes + dst_bytes AS b,
		src_frame_bytes + dst_frame_bytes AS fb, src_bytes AS sb, dst_bytes AS db
	FROM flows
	WHERE start >= {from:DateTime64(9, 'UTC')} AND start < {to:DateTime64(9, 'UTC')}`
	volumesDirty = ` AND toStartOfHour(toDateTime(start, 'UTC')) NOT IN (SELECT bucket FROM clean)`
)

// metricColumns are the metrics by name; all count both directions.
var metricColumns = map[string]string{"bytes": "b", "frame_bytes": "fb", "packets": "p", "flows": "f"}

// volumes returns the head of a statement and the table it can add up.
func volumes(w *where) (head, table string) {
	if w.raw {
		return "", "(" + volumesRaw + w.sql() + ")"
	}
	return volumesHead, "(" + volumesRollup + w.sql() + "\n\tUNION ALL\n\t" + volumesRaw + volumesDirty + w.sql() + ")"
}
