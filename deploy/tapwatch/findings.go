package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// findings is what `tapwatch read --json` prints.
type findings struct {
	Packets        uint64            `json:"packets"`          // in the capture
	FrameBytes     uint64            `json:"frame_bytes"`      // their octets on the wire
	PacketsInFlows uint64            `json:"packets_in_flows"` // of stored flow records
	Flows          uint64            `json:"flows"`            // connections
	Lost           map[string]uint64 `json:"lost"`             // packets that are in no stored flow, by reason
	LostFrameBytes map[string]uint64 `json:"lost_frame_bytes"`
	FlowFrameBytes uint64            `json:"flow_frame_bytes"` // of stored flow records
	StoredRows     uint64            `json:"stored_rows"`      // flow records: a long connection has several
	Alerts         []finding         `json:"alerts"`

	records     uint64 // that the probe made
	lostRecords uint64
	start, end  time.Time
}

// finding is one alert.
type finding struct {
	Detector string    `json:"detector"`
	Severity string    `json:"severity"`
	Title    string    `json:"title"`
	Entities []string  `json:"entities"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Score    float64   `json:"score"`
}

// ask reads the findings back from ClickHouse: what is stored, not what was sent.
func ask(ctx context.Context, db driver.Conn) (*findings, error) {
	f := &findings{Lost: map[string]uint64{}, LostFrameBytes: map[string]uint64{}, Alerts: []finding{}}
	err := db.QueryRow(ctx, "SELECT sum(seen_packets), sum(seen_frame_bytes), sum(records) FROM ledger").Scan(&f.Packets, &f.FrameBytes, &f.records)
	if err != nil {
		return nil, fmt.Errorf("ask for the ledger: %w", err)
	}
	err = db.QueryRow(ctx, "SELECT count(), countIf(segment = 0), sum(src_packets + dst_packets), sum(src_frame_bytes + dst_frame_bytes), min(start), max(end) FROM flows").
		Scan(&f.StoredRows, &f.Flows, &f.PacketsInFlows, &f.FlowFrameBytes, &f.start, &f.end)
	if err != nil {
		return nil, fmt.Errorf("ask for the flows: %w", err)
	}
	err = each(ctx, db, `SELECT reason, sum(packets), sum(frame_bytes), sum(lost_records) FROM
		(SELECT reason, packets, frame_bytes, lost_records FROM ledger_losses UNION ALL SELECT reason, packets, frame_bytes, records FROM ledger_dropped)
		GROUP BY reason`, func(rows driver.Rows) error {
		var reason string
		var packets, bytes, records uint64
		if err := rows.Scan(&reason, &packets, &bytes, &records); err != nil {
			return err
		}
		f.lostRecords += records
		if packets > 0 {
			f.Lost[reason], f.LostFrameBytes[reason] = packets, bytes
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the losses: %w", err)
	}
	err = each(ctx, db, "SELECT detector, severity, title, entities, start, end, score FROM alerts FINAL WHERE NOT withdrawn AND suppressed_by = '' ORDER BY start, id", func(rows driver.Rows) error {
		var a finding
		if err := rows.Scan(&a.Detector, &a.Severity, &a.Title, &a.Entities, &a.Start, &a.End, &a.Score); err != nil {
			return err
		}
		f.Alerts = append(f.Alerts, a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the alerts: %w", err)
	}
	return f, nil
}

func each(ctx context.Context, db driver.Conn, query string, row func(driver.Rows) error) error {
	rows, err := db.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// print writes the findings for people.
func (f *findings) print(ctx context.Context, db driver.Conn, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s, %d packets, %s, %d flows\n", f.span(), f.Packets, sized(f.FrameBytes), f.Flows)
	sections := []struct{ title, query string }{
		{"Top talkers", `SELECT replaceOne(toString(arrayJoin([src_ip, dst_ip])), '::ffff:', '') AS host, sum(src_bytes + dst_bytes), countIf(segment = 0) FROM flows GROUP BY host ORDER BY 2 DESC, host LIMIT 10`},
		{"Applications", `SELECT if(app = '', '(none)', app) AS name, sum(src_bytes + dst_bytes), countIf(segment = 0) FROM flows GROUP BY name ORDER BY 2 DESC, name LIMIT 10`},
	}
	for _, s := range sections {
		fmt.Fprintf(w, "\n%s\tbytes\tflows\n", s.title)
		err := each(ctx, db, s.query, func(rows driver.Rows) error {
			var name string
			var bytes, flows uint64
			if err := rows.Scan(&name, &bytes, &flows); err != nil {
				return err
			}
			fmt.Fprintf(w, "  %s\t%s\t%d\n", plain(name), sized(bytes), flows)
			return nil
		})
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nAlerts\t%d\n", len(f.Alerts))
	for _, a := range f.Alerts {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", a.Severity, a.Detector, a.Start.UTC().Format("2006-01-02 15:04:05"), plain(a.Title))
	}
	share := 100.0
	if f.Packets > 0 {
		share = 100 * float64(f.PacketsInFlows) / float64(f.Packets)
	}
	fmt.Fprintf(w, "\nCompleteness\t%d of %d packets are in flows (%.2f %%)\n", f.PacketsInFlows, f.Packets, share)
	for _, reason := range slices.Sorted(maps.Keys(f.Lost)) {
		fmt.Fprintf(w, "  %s\t%d packets\n", plain(reason), f.Lost[reason])
	}
	return w.Flush()
}

func (f *findings) span() string {
	if f.StoredRows == 0 {
		return "no flows"
	}
	return fmt.Sprintf("%s to %s UTC", f.start.UTC().Format("2006-01-02 15:04:05"), f.end.UTC().Format("2006-01-02 15:04:05"))
}

// plain drops what could steer a terminal: names come off the wire.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func sized(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	v, i := float64(n), 0
	for v >= 1000 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
