package query

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// A list that is looked for in stages and from both sides is the list.
func TestListIsWhole(t *testing.T) {
	r := newRig(t, "query_list")
	r.traffic(6000, 14)
	a := NewAsker(r.conn, nil)
	p := NewPlanner(a)
	span := Span{day0.Add(7 * time.Hour), day0.Add(13*24*time.Hour + 5*time.Hour)}
	ids := func(s Statement) (list []uint64) {
		t.Helper()
		err := a.Each(t.Context(), Analyst, s, func(rows driver.Rows) error {
			var id uint64
			err := rows.Scan(&id)
			list = append(list, id)
			return err
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, s.SQL)
		}
		return list
	}
	for _, text := range []string{"", "host 10.0.1.7", "host in (10.0.0.1, 10.1.0.3) and port = 53", "host != 10.0.0.1 and src_bytes > 100", "asset = nobody"} {
		f := r.filter(text)
		for _, order := range [][]string{{"start DESC", "src_ip"}, {"start", "src_ip"}, {"src_bytes + dst_bytes DESC", "start DESC"}} {
			for _, limit := range []int{20, 700} {
				plan, err := p.Plan(t.Context(), f, span, Need{Raw: true})
				if err != nil {
					t.Fatal(err)
				}
				plans := []*Plan{plan}
				if order[0] != "src_bytes + dst_bytes DESC" {
					if plans = plan.Stages(order[0] == "start DESC"); len(plans) != 3 {
						t.Fatalf("%d stages", len(plans))
					}
				}
				var got []uint64
				for _, stage := range plans {
					stage.Params["limit"] = fmt.Sprint(limit - len(got))
					got = append(got, ids(Statement{stage.List([]string{"flow_id AS `flow_id`"}, []string{"flow_id"}, order), stage.Params})...)
				}
				params := Params{}
				where := f.Where(params, span)
				params["from"], params["to"], params["limit"] = stamp(span.From), stamp(span.To), fmt.Sprint(limit)
				want := ids(Statement{"SELECT flow_id FROM flows WHERE start >= {from:DateTime64(9, 'UTC')} AND start < {to:DateTime64(9, 'UTC')} AND (" + where + ") ORDER BY " + order[0] + ", " + order[1] + " LIMIT {limit:UInt32}", params})
				if !slices.Equal(got, want) {
					t.Errorf("%q by %s, %d of them: %d flows, want %d", text, order[0], limit, len(got), len(want))
				}
			}
		}
	}
}

// Names of hosts and users are those of the time of the question.
func TestLookups(t *testing.T) {
	r := newRig(t, "query_lookups")
	if !r.have("assets_seen") || !r.have("users_seen") || !r.have("workloads") {
		t.Skip("the tables of names are not there")
	}
	flowAt := func(at, site, src, dst string) map[string]any {
		return map[string]any{"start": at, "end": at, "site": site, "src_ip": src, "dst_ip": dst, "received": "2026-10-07 00:00:00"}
	}
	r.insert("flows", []map[string]any{
		flowAt("2026-10-05 08:10:00", "s1", "::ffff:10.0.0.5", "::ffff:10.1.1.1"),
		flowAt("2026-10-05 08:20:00", "s1", "::ffff:10.1.1.1", "::ffff:10.0.0.5"),
		flowAt("2026-10-05 08:30:00", "s2", "::ffff:10.0.0.5", "::ffff:10.1.1.1"), // the other site's .5
		flowAt("2026-10-06 08:30:00", "s1", "::ffff:10.0.0.5", "::ffff:10.1.1.1"), // somebody else's by then
		flowAt("2026-10-05 08:40:00", "s1", "::ffff:10.0.0.7", "::ffff:10.1.1.1"),
	})
	seen := func(hour, ip, name string) map[string]any {
		return map[string]any{"site": "s1", "ip": ip, "hour": hour, "source": "dhcp", "name": name, "mac": 1, "first": hour, "last": hour, "stored": "2026-10-07 00:00:00"}
	}
	r.insert("assets_seen", []map[string]any{seen("2026-10-05 08:00:00", "::ffff:10.0.0.5", "Printer-3"), seen("2026-10-06 08:00:00", "::ffff:10.0.0.5", "laptop-9")})
	user := seen("2026-10-05 08:00:00", "::ffff:10.0.0.7", "")
	delete(user, "name")
	user["user"], user["domain"], user["source"] = "alice", "EXAMPLE", "kerberos"
	r.insert("users_seen", []map[string]any{user})
	r.insert("workloads", []map[string]any{{"source": "k8s", "ip": "::ffff:10.0.0.7", "name": "shop-1", "from": "2026-10-05 00:00:00", "to": "2026-10-05 23:00:00", "updated": "2026-10-05 23:00:00"}})
	first := "between 2026-10-05 and 2026-10-06 and "
	for _, tt := range []struct {
		text string
		want uint64
	}{
		{first + "asset = 'printer-3'", 2},
		{first + "not asset = 'printer-3'", 2},
		{first + "asset like 'Print%'", 2},
		{first + "asset = 'laptop-9'", 0},
		{"since 2026-10-06 and asset = laptop-9", 1},
		{"since 2026-10-06 and asset = printer-3", 0},
		{first + "asset in (printer-3, laptop-9)", 2},
		{first + "account = Alice", 1},
		{first + "account alice and workload ~ '^shop'", 1},
		{"since 2026-10-06 and workload = shop-1", 0},
	} {
		n, err := r.counts([]*Filter{r.filter(tt.text)})
		if err != nil || n[0] != tt.want {
			t.Errorf("%s: %v flows (%v), want %d", tt.text, n, err, tt.want)
		}
	}
}
