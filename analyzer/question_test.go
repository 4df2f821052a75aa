package analyzer

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

func TestMain(m *testing.M) { localtest.Main(m) }

func TestAsk(t *testing.T) {
	server := localtest.TestClickHouse(t)
	conn := localtest.Database(t, "analyzer_ask")
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{server.Addr()}, "analyzer_ask"
	ask := func(q Question) (out, notes string, err error) {
		var o, n bytes.Buffer
		if q.Format == "" {
			q.Format = "csv"
		}
		if q.Limit == 0 {
			q.Limit = 100
		}
		err = Ask(t.Context(), cfg, q, &o, &n)
		return o.String(), n.String(), err
	}
	if out, notes, err := ask(Question{}); err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(notes, "no flows") {
		t.Errorf("nothing stored: %q %q %v", out, notes, err)
	}
	localtest.Exec(t, conn, `INSERT INTO flows (probe, start, end, src_ip, dst_ip, src_port, dst_port, protocol, app, tls_sni, http_user_agent, dns_names, src_mac, src_bytes, src_packets, received)
		SELECT 'p', toDateTime64('2026-10-05 08:00:00', 9, 'UTC') + toIntervalMinute(number), toDateTime64('2026-10-05 08:00:01', 9, 'UTC') + toIntervalMinute(number),
			toIPv6(concat('10.0.0.', toString(number % 4))), toIPv6('2001:db8::1'), 1000 + number, [443, 53][number % 2 + 1], 6, ['tls', 'dns'][number % 2 + 1],
			if(number = 0, '=1+1', 'a\tb'), '\x1b[31mred', ['x', 'y'], 116521737720, 100, 1, now()
		FROM numbers(3000) SETTINGS async_insert = 0`)
	out, notes, err := ask(Question{Filter: "app = dns and src_ip = 10.0.0.1", Last: "all", By: []string{"src_ip", "app"}})
	if want := "src_ip,app,flows,packets,bytes\n10.0.0.1,dns,750,750,75000\n"; err != nil || out != want || !strings.Contains(notes, "from flows") {
		t.Errorf("by (-got +want)\n-%q %q %v\n+%q", out, notes, err, want)
	}
	// The latest day, where nothing is said.
	if out, _, err = ask(Question{By: []string{"protocol"}}); err != nil || !strings.Contains(out, "6,1440,1440,144000") {
		t.Errorf("latest day: %q %v", out, err)
	}
	if out, _, err = ask(Question{Filter: "last 1h", By: []string{"protocol"}}); err != nil || !strings.Contains(out, "6,60,60,6000") {
		t.Errorf("last 1h: %q %v", out, err)
	}
	if out, _, err = ask(Question{Filter: "between 2026-10-05T08:00 and 2026-10-05T08:02", Columns: []string{"start", "src_ip", "dst_ip", "tls_sni", "dns_names", "src_mac", "duration", "community_id"}}); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(lines) != 3 || lines[1][0] != "2026-10-05T08:01:00Z" || lines[2][3] != "'=1+1" || lines[1][4] != "x y" || lines[1][5] != "00:1b:21:3c:9d:f8" || lines[1][6] != "1000000000" || !strings.HasPrefix(lines[1][7], "1:") {
		t.Errorf("columns: %q %v", lines, err)
	}
	out, _, err = ask(Question{Filter: "last 1m", Columns: []string{"http_user_agent", "tls_sni"}, Format: "table"})
	if err != nil || strings.Contains(out, "\x1b") || strings.Contains(out, "a\tb") || strings.Count(out, "\n") != 2 {
		t.Errorf("table: %q %v", out, err)
	}
	out, _, err = ask(Question{Filter: "last 1m", Format: "json"})
	var row struct {
		SrcIP string `json:"src_ip"`
		Bytes uint64
	}
	if err != nil || json.Unmarshal([]byte(out), &row) != nil || row.Bytes != 100 || row.SrcIP != "10.0.0.3" {
		t.Errorf("json: %q %v", out, err)
	}
	if out, _, err = ask(Question{Filter: "app = dns", Explain: true}); err != nil || !strings.Contains(out, "`app` = {p3:String}") {
		t.Errorf("explain: %q %v", out, err)
	}
	var wrong *query.Error
	if _, _, err = ask(Question{Filter: "app ="}); !errors.As(err, &wrong) {
		t.Errorf("wrong filter: %v", err)
	}
	for _, q := range []Question{{Last: "x"}, {Sample: "x"}, {Columns: []string{"dst_prt"}}, {By: []string{"bytes"}}, {By: []string{"app"}, Columns: []string{"app"}}, {Format: "xml"}} {
		if _, _, err := ask(q); !errors.Is(err, ErrQuestion) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	cfg.Console.MaxRows = 10
	var refusal *query.Refusal
	if _, _, err := ask(Question{Filter: "tls_sni exists"}); !errors.As(err, &refusal) {
		t.Errorf("too large: %v", err)
	}
}
