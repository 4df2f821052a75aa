package report

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"
	"time"
)

// cell is text that no spreadsheet takes for a formula: what begins with one of
// = + - @, a tab or a line end gets an apostrophe before it, and it is one line.
func cell(text string) string {
	risky := text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0]))
	text = strings.TrimSpace(printable(text, 2000, false))
	if risky || text != "" && strings.ContainsRune("=+-@", rune(text[0])) {
		return "'" + text
	}
	return text
}

// Table is one CSV file.
type Table struct {
	Name string // part of the file's name
	Data []byte
}

// sheet writes rows; numbers are made by us, and texts go through cell.
func sheet(name string, header []string, n int, row func(i int) []any) (Table, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(header) // the error is kept for w.Error
	for i := range n {
		var record []string
		for _, v := range row(i) {
			switch v := v.(type) {
			case string:
				record = append(record, cell(v))
			case uint64:
				record = append(record, strconv.FormatUint(v, 10))
			case int:
				record = append(record, strconv.Itoa(v))
			case float64:
				record = append(record, strconv.FormatFloat(v, 'f', -1, 64))
			case time.Time:
				text := ""
				if !v.IsZero() {
					text = v.Format(time.RFC3339)
				}
				record = append(record, text)
			}
		}
		_ = w.Write(record)
	}
	w.Flush()
	return Table{name, b.Bytes()}, w.Error()
}

// CSV returns the report as tables. Rates are bits per second, times RFC 3339.
func (r *Report) CSV() ([]Table, error) {
	var all []Table
	var wrong error
	add := func(name, header string, n int, row func(i int) []any) {
		t, err := sheet(name, strings.Split(header, ","), n, row)
		if wrong == nil {
			wrong = err
		}
		all = append(all, t)
	}
	add("bandwidth", "site,link,octets,out_octets,in_octets,mean_bps,p95_bps,p95_out_bps,p95_in_bps,peak_bps,peak_at,capacity_bps", len(r.Links), func(i int) []any {
		l := r.Links[i]
		return []any{l.Site, l.Name, l.Octets, l.Out, l.Into, l.Mean, l.P95, l.P95Out, l.P95In, l.Peak, l.PeakAt, l.Capacity}
	})
	add("applications", "application,flows,octets,sent_octets,received_octets,share", len(r.Apps), func(i int) []any {
		a := r.Apps[i]
		return []any{a.Name, a.Flows, a.Octets, a.Sent, a.Received, a.Share}
	})
	add("events", "family,detector,severity,incidents,actors,withdrawn,hidden", len(r.Events), func(i int) []any {
		e := r.Events[i]
		return []any{e.Family, e.Detector, e.Severity, e.Alerts, e.Actors, e.Withdrawn, e.Hidden}
	})
	add("incidents", "id,severity,detector,title,actor,victim,start,end,score", len(r.Worst), func(i int) []any {
		w := r.Worst[i]
		return []any{w.ID, w.Severity, w.Detector, w.Title, w.Actor, w.Victim, w.Start, w.End, w.Score}
	})
	add("capacity", "site,link,days,busiest_bps,slope_bps_per_day,next_day_bps,next_day_high_bps,capacity_bps,load,full", len(r.Capacity), func(i int) []any {
		c := r.Capacity[i]
		return []any{c.Site, c.Name, c.Days, c.Busiest, c.Slope, c.Next, c.NextHigh, c.Capacity, c.Load, c.Full}
	})
	type lost struct {
		Account
		Loss
	}
	var ledger []lost
	for _, a := range r.Ledger {
		ledger = append(ledger, lost{a, Loss{}})
		for _, l := range a.Losses {
			ledger = append(ledger, lost{Account{Probe: a.Probe}, l})
		}
	}
	add("completeness", "probe,seen_packets,flow_packets,share,loss,lost_packets,lost_records", len(ledger), func(i int) []any {
		l := ledger[i]
		return []any{l.Probe, l.Seen, l.Kept, l.Share, l.Reason, l.Packets, l.Records}
	})
	add("classes", "site,link,dscp,class,octets,share,p95_bps,peak_bps", len(r.Classes), func(i int) []any {
		c := r.Classes[i]
		return []any{c.Site, c.Link, int(c.DSCP), c.Name, c.Octets, c.Share, c.P95, c.Peak}
	})
	for i, list := range [][]Pair{r.Systems, r.Prefixes} {
		name := []string{"systems", "prefixes"}[i]
		add(name, "site,link,from,to,octets,p95_bps,peak_bps", len(list), func(i int) []any {
			p := list[i]
			return []any{p.Site, p.Link, p.From, p.To, p.Octets, p.P95, p.Peak}
		})
	}
	return all, wrong
}
