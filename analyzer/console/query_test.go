package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

// q parts the flows of every operation alike, and says what is wrong where.
func TestQ(t *testing.T) {
	r := newRig(t, "console_q", Config{})
	rows, _ := r.fill(3)
	count := func(q string) (flows int, top, series uint64) {
		t.Helper()
		p := "?" + url.Values{"q": {q}}.Encode()
		var have struct {
			Flows  []json.RawMessage
			Source Source
		}
		r.get("/api/v1/flows"+p+"&limit=1000", &have)
		var sums Top
		r.get("/api/v1/top"+p+"&by=app&n=100", &sums)
		var curve Timeseries
		r.get("/api/v1/timeseries"+p+"&metric=flows", &curve)
		for _, s := range curve.Series {
			series += s.Total
		}
		return len(have.Flows), sums.Total.Flows, series
	}
	wantOf := func(sql string) (n, connections uint64) {
		t.Helper()
		if err := r.conn.QueryRow(t.Context(), "SELECT count(), countIf(segment = 0) FROM flows WHERE "+sql).Scan(&n, &connections); err != nil {
			t.Fatal(err)
		}
		return n, connections
	}
	for _, tt := range []struct{ q, sql string }{
		{"", "1"},
		{"app = dns", "app = 'dns'"},
		{"protocol = udp and not app in (dns, ntp)", "protocol = 17 AND app NOT IN ('dns', 'ntp')"},
		{"tls_sni exists or http_host exists", "tls_sni != '' OR http_host != ''"},
		{"src_bytes > 1kB", "src_bytes > 1000"},
		{"between 2026-10-05T08:30 and 2026-10-05T09:10", "start >= '2026-10-05 08:30:00' AND start < '2026-10-05 09:10:00'"},
		{"since 2026-10-05T09:00:30Z and app = tls", "start >= '2026-10-05 09:00:30' AND app = 'tls'"},
		{"last 1h", "start >= '2026-10-05 10:00:00'"},
		{"app = nosuch", "0"},
	} {
		n, connections := wantOf(tt.sql)
		flows, top, series := count(tt.q)
		if uint64(flows) != n || top != connections || series != connections {
			t.Errorf("%s: %d flows, %d and %d connections in the sums; want %d and %d", tt.q, flows, top, series, n, connections)
		}
	}
	// A shorthand and q must both hold.
	n, _ := wantOf("app = 'tls' AND dst_port = 443")
	var both struct {
		Flows  []json.RawMessage
		Source Source
	}
	r.get("/api/v1/flows?limit=1000&q=app+%3D+tls&port=443", &both)
	if uint64(len(both.Flows)) != n || n == 0 || len(both.Source.Tables) != 1 || both.Source.Tables[0] != "flows" || both.Source.Read.Rows == 0 {
		t.Errorf("shorthand and q: %d flows, want %d; %+v", len(both.Flows), n, both.Source)
	}
	var problem struct {
		Detail string
		Errors []struct {
			Message, Location string
			Value             FilterError
		}
	}
	resp := r.get("/api/v1/top?"+url.Values{"q": {"app = dns and\n dst_prt = 1"}}.Encode(), nil)
	if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil || resp.StatusCode != http.StatusBadRequest || len(problem.Errors) != 1 {
		t.Fatalf("%d %+v %v", resp.StatusCode, problem, err)
	}
	if e := problem.Errors[0]; e.Value != (FilterError{Offset: 15, Length: 7, Line: 2, Column: 2, Suggest: "dst_port"}) || e.Location != "query.q:2:2" || problem.Detail != `q: line 2, column 2: there is no column or word "dst_prt": did you mean dst_port?` {
		t.Errorf("%+v", problem)
	}
	var c query.Completion
	r.get("/api/v1/complete?q=app+%3D+dns+and+tls_s", &c)
	if len(c.Items) == 0 || c.Items[0].Text != "tls_sni" || c.From != 14 {
		t.Errorf("%+v", c)
	}
	var explained Explained
	r.get("/api/v1/explain?q=app+%3D+dns", &explained)
	if !strings.Contains(explained.SQL, "`app` = {p") || explained.Source.Read.Rows != uint64(rows) {
		t.Errorf("%+v", explained)
	}
	// A sample is marked and scaled.
	var sampled struct {
		Source Source
		Total  Volume
	}
	r.get("/api/v1/top?sample=hash/2", &sampled)
	_, all := wantOf("1")
	if s := sampled.Source.Sample; s == nil || s.Rate != .5 || sampled.Total.Flows%2 != 0 || sampled.Total.Flows < all/3 || sampled.Total.Flows > all*2 {
		t.Errorf("sample %+v: %d of %d connections", s, sampled.Total.Flows, all)
	}
	if resp := r.get("/api/v1/top?sample=some", nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("sample=some: %d", resp.StatusCode)
	}
}

// A question that is too large is refused before it runs, in words.
func TestTooLarge(t *testing.T) {
	r := newRig(t, "console_large", Config{MaxRows: 100})
	r.fill(3)
	resp := r.get("/api/v1/flows?q=tls_sni+exists&last=all", nil)
	var problem struct{ Detail string }
	if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil || resp.StatusCode != http.StatusUnprocessableEntity ||
		!strings.Contains(problem.Detail, "would read 600 rows") || !strings.Contains(problem.Detail, "may read 100 rows") {
		t.Errorf("%d %+v %v", resp.StatusCode, problem, err)
	}
}

// A client that hangs up ends its question in ClickHouse.
func TestDisconnectEndsTheQuestion(t *testing.T) {
	r := newRig(t, "console_disconnect", Config{Listen: "127.0.0.1:0"})
	r.fill(1)
	// A table whose rows take their time.
	r.exec("RENAME TABLE flows TO flows_quick")
	r.exec("CREATE VIEW flows AS SELECT * FROM flows_quick WHERE sleepEachRow(0.02) = 0")
	base := r.serve()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/flows?last=all&q=app+%3D+dns", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	running := func() (n uint64) {
		if err := r.conn.QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE current_database = currentDatabase() AND query NOT LIKE '%system.processes%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	until := func(want bool) bool {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			if (running() > 0) == want {
				return true
			}
		}
		return false
	}
	if !until(true) {
		t.Fatal("the question never ran")
	}
	cancel()
	if err := <-done; err == nil {
		t.Fatal("the question was answered before its client went")
	}
	if !until(false) {
		t.Errorf("%d questions run without a client", running())
	}
}

// The filter line completes, refuses with the place, and filters.
func TestFilterLine(t *testing.T) {
	ctx := browser(t)
	r := newRig(t, "console_line", Config{Listen: "127.0.0.1:0"})
	r.fill(6)
	base := r.serve()
	var text, selected string
	var n int
	do(t, ctx,
		chromedp.EmulateViewport(1280, 900), chromedp.Navigate(base+"/?last=all"), chromedp.WaitVisible("#flows tbody tr"),
		chromedp.SendKeys("#filter-form input", "app = dns and dst_p"), chromedp.WaitVisible("#filter-list li"),
		evaluate(`document.querySelector('#filter-list b').textContent`, func(s string) { text = s }),
		screenshot("filter-complete-1280"),
	)
	if text != "dst_port" {
		t.Errorf("the first proposal is %q", text)
	}
	do(t, ctx, chromedp.SendKeys("#filter-form input", "\t"),
		evaluate(`document.querySelector('#filter-form input').value`, func(s string) { text = s }))
	if text != "app = dns and dst_port " {
		t.Errorf("completed to %q", text)
	}
	do(t, ctx, chromedp.SendKeys("#filter-form input", "= 70000\r"), chromedp.WaitVisible("#filter-problem"),
		evaluate(`document.querySelector('#filter-problem').textContent`, func(s string) { text = s }),
		evaluate(`(i => i.value.slice(i.selectionStart, i.selectionEnd))(document.querySelector('#filter-form input'))`, func(s string) { selected = s }),
		screenshot("filter-error-1280"))
	if !strings.Contains(text, "column 26") || !strings.Contains(text, "70000") || selected != "70000" {
		t.Errorf("refused with %q, selected %q", text, selected)
	}
	do(t, ctx, chromedp.SendKeys("#filter-form input", "53\r"), chromedp.WaitVisible("#state .filter"),
		evaluate(`decodeURIComponent(location.search.replaceAll('+', ' '))`, func(s string) { text = s }))
	if !strings.Contains(text, "q=app = dns and dst_port = 53") {
		t.Errorf("the address does not hold the filter: %q", text)
	}
	// Every list of the page follows.
	do(t, ctx, chromedp.Navigate(base+"/?last=all&q=app+%3D+dns+and+dst_port+%3D+53"), chromedp.WaitVisible("#state .filter"), chromedp.WaitVisible("#flows tbody tr"), chromedp.WaitVisible("#apps li"), chromedp.WaitVisible("#source:not(:empty)"),
		evaluate(`document.querySelectorAll('#apps li').length`, func(v int) { n = v }),
		evaluate(`document.querySelector('#source').textContent`, func(s string) { text = s }),
		screenshot("filter-1280"))
	if n != 1 || !strings.Contains(text, "from flows") {
		t.Errorf("%d applications; %q", n, text)
	}
	do(t, ctx, chromedp.Click("#state .filter button"), chromedp.WaitNotPresent("#state .filter"),
		chromedp.EmulateViewport(390, 800), chromedp.SendKeys("#filter-form input", "risk has w"), chromedp.WaitVisible("#filter-list li"), screenshot("filter-390"),
		evaluate(`document.documentElement.scrollWidth > innerWidth`, func(wide bool) {
			if wide {
				t.Error("wider than 390 pixels")
			}
		}))
}
