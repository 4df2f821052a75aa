package chaos

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

// sums are all that the rollups of flows add up, of each hour and probe.
const sums = `sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_frame_bytes), sum(dst_frame_bytes), sum(src_payload_bytes), sum(dst_payload_bytes)`

// compareRollup says how the sums of the rollups differ from those of flows.
func (r *rig) compareRollup() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var different []string
	const counts = `sum(flows), sum(segments), sum(failed), array(` + sums + `)`
	rows, err := r.db.Query(ctx, `SELECT toString(time), probe, groupArray(which), count() AS n, any(of) AS expected FROM
		(
			SELECT 'raw' AS which, 3 AS of, toStartOfHour(start) AS time, probe, countIf(segment = 0) AS f, count() AS s, countIf(segment = 0 AND dst_payload_bytes = 0) AS x, array(`+sums+`) AS v FROM flows GROUP BY time, probe
			UNION ALL
			SELECT '1m', 3, toStartOfHour(minute) AS time, probe, `+counts+` FROM flows_1m GROUP BY time, probe
			UNION ALL
			SELECT '1h', 3, hour AS time, probe, `+counts+` FROM flows_1h GROUP BY time, probe
			UNION ALL
			SELECT 'raw', 2, toStartOfDay(start) + INTERVAL 1 SECOND AS time, probe, countIf(segment = 0) AS f, count() AS s, countIf(segment = 0 AND dst_payload_bytes = 0) AS x, array(`+sums+`) AS v FROM flows GROUP BY time, probe
			UNION ALL
			SELECT '1d', 2, day + INTERVAL 1 SECOND AS time, probe, `+counts+` FROM flows_1d GROUP BY time, probe
			UNION ALL
			SELECT 'raw of hosts', 2, toStartOfHour(start) + INTERVAL 2 SECOND AS time, probe, countIf(segment = 0) AS f, count() AS s, countIf(segment = 0 AND dst_payload_bytes = 0) AS x,
				[sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_payload_bytes), sum(dst_payload_bytes)] AS v FROM flows GROUP BY time, probe
			UNION ALL
			SELECT 'hosts', 2, hour + INTERVAL 2 SECOND AS time, probe, sum(flows), sum(segments), sum(failed),
				[sum(sent_packets), sum(received_packets), sum(sent_bytes), sum(received_bytes), sum(sent_payload_bytes), sum(received_payload_bytes)] FROM hosts_1h WHERE role = 'initiator' GROUP BY time, probe
		) GROUP BY time, probe, f, s, x, v HAVING n != expected ORDER BY time, probe`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var at, probe string
		var which []string
		var n uint64
		var expected uint8
		if err := rows.Scan(&at, &probe, &which, &n, &expected); err != nil {
			return "", err
		}
		different = append(different, at+" "+probe+" "+strings.Join(which, ","))
	}
	return strings.Join(different[:min(len(different), 10)], "; "), rows.Err()
}
