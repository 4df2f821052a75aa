package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// rig is a console on a database of its own.
type rig struct {
	t       testing.TB
	conn    driver.Conn
	http    string // address of ClickHouse over HTTP, with the database
	console *Console
}

func newRig(t testing.TB, name string, cfg Config) *rig {
	t.Helper()
	server := localtest.TestClickHouse(t)
	conn := localtest.Database(t, name)
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	c, err := New(cfg, conn, slog.New(slog.NewTextHandler(testLog{t}, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, conn: conn, console: c, http: "http://" + server.HTTPAddr() + "/?database=" + name}
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// insert gives rows to a table as JSON objects.
func (r *rig) insert(table string, rows []map[string]any) {
	r.t.Helper()
	var b bytes.Buffer
	for _, row := range rows {
		now := time.Now().UTC().Format("2006-01-02 15:04:05")
		if table == "flows" || table == "batches" {
			row["received"] = now // retention runs from here
		}
		if table == "batches" {
			row["stored"] = now
		}
		if err := json.NewEncoder(&b).Encode(row); err != nil {
			r.t.Fatal(err)
		}
	}
	q := "INSERT INTO " + table + " SETTINGS async_insert = 0, date_time_input_format = 'best_effort' FORMAT JSONEachRow"
	resp, err := http.Post(r.http+"&query="+url.QueryEscape(q), "application/json", &b)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		r.t.Fatalf("insert into %s: %s", table, text)
	}
}

// get asks the console and decodes its answer.
func (r *rig) get(path string, out any) *http.Response {
	r.t.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.Host = "localhost:8410"
	w := httptest.NewRecorder()
	r.console.handler.ServeHTTP(w, req)
	resp := w.Result()
	body := w.Body.Bytes()
	if out != nil {
		if resp.StatusCode != http.StatusOK {
			r.t.Fatalf("GET %s: %d %s", path, resp.StatusCode, body)
		}
		if err := json.Unmarshal(body, out); err != nil {
			r.t.Fatalf("GET %s: %v\n%s", path, err, body)
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// recorded are flow records of the demo's captures, as `probe flows` tells them.
func recorded(t testing.TB) []map[string]any {
	t.Helper()
	f, err := os.Open("testdata/flows.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []map[string]any
	for s := bufio.NewScanner(f); s.Scan(); {
		var row map[string]any
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.UseNumber()
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// day0 is when the traffic of the tests begins: an hour.
var day0 = time.Date(2026, 10, 5, 8, 0, 0, 0, time.UTC)

const testEpoch = 9007199254740993 // not a float64

// fill stores the recorded flows n times, an hour apart, as the collector would:
// flows, and the batch that promises them with its ledger. It returns the flows
// stored and their packets.
func (r *rig) fill(n int) (rows int, packets uint64) {
	r.t.Helper()
	sample := recorded(r.t)
	var all []map[string]any
	perMinute := map[int64]int{}
	for hour := range n {
		for i, s := range sample {
			row := map[string]any{}
			for k, v := range s {
				row[k] = v
			}
			start := day0.Add(time.Duration(hour)*time.Hour + time.Duration(i)*3600*time.Second/time.Duration(len(sample)))
			s0, _ := time.Parse(time.RFC3339Nano, s["start"].(string))
			e0, _ := time.Parse(time.RFC3339Nano, s["end"].(string))
			row["start"], row["end"] = start.Format(time.RFC3339Nano), start.Add(e0.Sub(s0)).Format(time.RFC3339Nano)
			row["probe"], row["epoch"], row["seq"], row["row"] = "tap-1", json.Number(fmt.Sprint(testEpoch)), 1, len(all)
			row["flow_id"] = len(all) + 1
			perMinute[start.Unix()/60]++
			packets += number64(row["src_packets"]) + number64(row["dst_packets"])
			all = append(all, row)
		}
	}
	r.store(all)
	batch := map[string]any{"probe": "tap-1", "epoch": json.Number(fmt.Sprint(testEpoch)), "seq": 1, "topic": "flows.v1", "status": "stored",
		"rows": len(all), "schema_version": 1, "end_of_stream": true,
		"clock": stamp(day0.Add(time.Duration(n) * time.Hour)), "watermark": stamp(day0.Add(time.Duration(n) * time.Hour)), "sealed": "2026-10-06 11:59:59"}
	var mins, minRows []int64
	for m, c := range perMinute {
		mins, minRows = append(mins, m), append(minRows, int64(c))
	}
	batch["minutes"], batch["minute_rows"] = mins, minRows
	batch["ledger_second"] = []int64{day0.Unix()}
	batch["seen_packets"], batch["flow_packets"] = []uint64{packets + 30}, []uint64{packets}
	batch["seen_frame_bytes"], batch["flow_frame_bytes"] = []uint64{1000}, []uint64{900}
	for _, k := range []string{"flows_started", "flows_ended", "records"} {
		batch[k] = []int{len(all)}
	}
	batch["loss_second"], batch["loss_reason"] = []int64{day0.Unix(), day0.Unix()}, []string{flow.LossNonIP, flow.LossRing}
	batch["loss_packets"], batch["loss_frame_bytes"], batch["loss_records"] = []int{20, 10}, []int{60, 40}, []int{0, 0}
	r.insert("batches", []map[string]any{batch})
	return len(all), packets
}

// store inserts flows as the probe tells them.
func (r *rig) store(all []map[string]any) {
	r.t.Helper()
	for _, row := range all {
		delete(row, "community_id")
		var addr [2]flow.Addr
		for i, side := range []string{"src", "dst"} {
			if s, ok := row[side+"_mac"].(string); ok {
				var mac uint64
				fmt.Sscanf(strings.ReplaceAll(s, ":", ""), "%x", &mac)
				row[side+"_mac"] = mac
			}
			a := netip.MustParseAddr(row[side+"_ip"].(string))
			addr[i] = flow.AddrFrom(a)
			row[side+"_ip"] = netip.AddrFrom16(a.As16()).String()
		}
		row["community_hash"] = flow.CommunityHash(addr[0], addr[1], uint16(number64(row["src_port"])), uint16(number64(row["dst_port"])), uint8(number64(row["protocol"])))
	}
	r.insert("flows", all)
}

func number64(v any) uint64 {
	var n uint64
	fmt.Sscan(fmt.Sprint(v), &n)
	return n
}

// raise stores an alert like those of the detectors.
func (r *rig) raise(a alert.Alert) alert.Alert {
	r.t.Helper()
	raised, err := alert.NewStore(r.conn).Raise(context.Background(), []alert.Alert{a})
	if err != nil {
		r.t.Fatal(err)
	}
	return raised.Alerts[0]
}

func scanAlertOf(window time.Time) alert.Alert {
	return alert.Alert{
		Detector: "portscan_vertical", Version: 1, Title: "10.0.0.9 tried 212 ports of 10.0.0.1", Severity: alert.High, Score: .91, Confidence: .8, Magnitude: 212,
		Techniques: []string{"T1046"}, Actor: "10.0.0.9", Victim: "10.0.0.1", Entities: []string{"actor=10.0.0.9", "victim=10.0.0.1"},
		Start: window.Add(time.Minute), End: window.Add(4 * time.Minute), WindowStart: window, WindowEnd: window.Add(10 * time.Minute),
		SubScores: map[string]float64{"breadth": .95, "failure": .99, "speed": .7}, Reasons: []string{"212 ports failed within 3 minutes", "none of them answered"},
		EvidenceSQL: `-- Who sent what.
/* of all */ SELECT src_ip, count() AS flows, sum(src_packets) AS packets, max(start) AS last FROM flows
WHERE start >= {from:DateTime64(9, 'UTC')} AND start < {to:DateTime64(9, 'UTC')} AND app != {app:String}
GROUP BY src_ip ORDER BY flows DESC, src_ip`,
		EvidenceParams: map[string]string{"from": stamp(window), "to": stamp(window.Add(time.Hour)), "app": "none"},
		Baseline:       `{"median":3,"mad":1.5}`, FlowIDs: []string{fmt.Sprintf("tap-1/%d/0/1", testEpoch), fmt.Sprintf("tap-1/%d/0/2", testEpoch)}, Completeness: .997,
	}
}
