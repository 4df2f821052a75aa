package e2e

import (
	"context"
	"strings"
	"time"
)

// edgeAccount is what one start of the real probe has told.
type edgeAccount struct {
	Ended                                      bool
	Open, Rows, Records, Seen, InFlows, InRows uint64
	Started, Finished                          uint64
}

// compareEdge holds the real probe's ledger against its rows: a start that was
// killed has no end of stream, and lacks just the flows that it said were open.
// It returns the packets seen, and those in rows.
func (r *rig) compareEdge(f *findings) (starts int, seen, inRows uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := r.db.Query(ctx, `SELECT epoch, max(end_of_stream), argMax(open_flows, seq), sum(rows), sum(arraySum(records)), sum(arraySum(seen_packets)),
			sum(arraySum(flow_packets)), sum(arraySum(flows_started)), sum(arraySum(flows_ended)), any(packets)
		FROM (SELECT * FROM batches FINAL WHERE probe = ? AND status = 'stored') AS b
		LEFT JOIN (SELECT epoch, sum(src_packets + dst_packets) AS packets FROM flows WHERE probe = ? GROUP BY epoch) AS r USING (epoch)
		GROUP BY epoch`, edgeProbe, edgeProbe)
	if err != nil {
		return 0, 0, 0, err
	}
	defer rows.Close()
	ends := 0
	for rows.Next() {
		var epoch uint64
		var a edgeAccount
		if err := rows.Scan(&epoch, &a.Ended, &a.Open, &a.Rows, &a.Records, &a.Seen, &a.InFlows, &a.Started, &a.Finished, &a.InRows); err != nil {
			return 0, 0, 0, err
		}
		starts++
		seen, inRows = seen+a.Seen, inRows+a.InRows
		if a.Ended {
			ends++
		}
		switch {
		case a.Rows != a.Records, a.Started-a.Finished != a.Open, a.Seen != a.InFlows, a.Ended && a.Open != 0,
			a.InFlows < a.InRows+a.Open, a.Open == 0 && a.InFlows != a.InRows:
			f.note("the ledger of %s/%d does not close: %+v", edgeProbe, epoch, a)
		}
	}
	if ends != 1 {
		f.note("%d starts of the probe have said the end of their stream, only the last one could", ends)
	}
	if seen > uint64(r.fed) {
		f.note("the probe has seen %d packets, of %d there were", seen, r.fed)
	}
	return starts, seen, inRows, rows.Err()
}

// sums are all that flows_1m adds up, of each hour and probe.
const sums = `sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_frame_bytes), sum(dst_frame_bytes), sum(src_payload_bytes), sum(dst_payload_bytes)`

// compareRollup says how the sums of flows_1m differ from those of flows.
func (r *rig) compareRollup() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var different []string
	rows, err := r.db.Query(ctx, `SELECT toString(hour), probe, groupArray(which), count() FROM
		(
			SELECT 'raw' AS which, toStartOfHour(start) AS hour, probe, countIf(segment = 0) AS f, count() AS s, countIf(segment = 0 AND dst_payload_bytes = 0) AS x, array(`+sums+`) AS v FROM flows GROUP BY hour, probe
			UNION ALL
			SELECT '1m', toStartOfHour(minute) AS hour, probe, sum(flows), sum(segments), sum(failed), array(`+sums+`) FROM flows_1m GROUP BY hour, probe
		) GROUP BY hour, probe, f, s, x, v HAVING count() != 2 ORDER BY hour, probe`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var hour, probe string
		var which []string
		var n uint64
		if err := rows.Scan(&hour, &probe, &which, &n); err != nil {
			return "", err
		}
		different = append(different, hour+" "+probe+" "+strings.Join(which, ","))
	}
	return strings.Join(different[:min(len(different), 10)], "; "), rows.Err()
}
