package console

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// browser starts a headless Chromium that ends with the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Chromium on the PATH")
		}
		t.Skip("no Chromium on the PATH: install chromium to run this")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // starts it, for as long as ctx lives
		t.Fatal(err)
	}
	return ctx
}

// serve runs the console of a rig on a port of its own.
func (r *rig) serve() string {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	if err := r.console.Listen(); err != nil {
		r.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.console.Serve(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(r.console.Addr())
	return "http://127.0.0.1:" + port
}

// hostile are texts that a careless page would take for its own.
var hostile = []string{
	`<script>window.pwned=1</script>`,
	`<img src=x onerror="window.pwned=1">`,
	`"><svg onload=window.pwned=1>`,
	`'-window.pwned=1-'`,
	`</title><script>window.pwned=1</script>`,
	`javascript:window.pwned=1`,
	`{{constructor.constructor('window.pwned=1')()}}`,
	`${window.pwned=1}`,
	"`;window.pwned=1;`",
	`<iframe srcdoc="<script>parent.pwned=1</script>">`,
	`<style>@import 'http://127.0.0.1:1/x'</style>`,
	`<base href="http://127.0.0.1:1/">`,
	"\u2028window.pwned=1//",
	`&lt;script&gt;window.pwned=1&lt;/script&gt;`,
}

// Whatever the wire says is shown as text, and none of it runs (S5).
func TestNothingFromTheWireRuns(t *testing.T) {
	ctx := browser(t)
	r := newRig(t, "console_browser", Config{Listen: "127.0.0.1:0"})
	r.fill(6)
	sample := recorded(t)
	var rows []map[string]any
	var promise []int64
	for i, text := range hostile {
		row := maps.Clone(sample[i])
		for _, column := range []string{"tls_sni", "http_host", "http_uri", "http_user_agent", "app", "ssh_client", "ja4", "history", "interface"} {
			row[column] = text
		}
		row["dns_names"], row["dns_answers"] = []string{text}, []string{text}
		at := day0.Add(6*time.Hour - time.Duration(i+1)*time.Second)
		row["start"], row["end"] = at.Format(time.RFC3339Nano), at.Format(time.RFC3339Nano)
		row["probe"], row["epoch"], row["flow_id"], row["src_bytes"] = text, 7, i+1, 1<<32-i
		rows, promise = append(rows, row), append(promise, at.Unix()/60)
	}
	r.store(rows)
	for i, text := range hostile {
		r.insert("batches", []map[string]any{{"probe": text, "epoch": 7, "seq": 1, "topic": "flows.v1", "status": "stored", "kafka_offset": i, "clock": stamp(day0.Add(6 * time.Hour)),
			"rows": 1, "minutes": promise[i : i+1], "minute_rows": []int{1}, "ledger_second": []int64{day0.Unix() + 60}, "seen_packets": []int{9}, "flow_packets": []int{4},
			"seen_frame_bytes": []int{9}, "flow_frame_bytes": []int{9}, "flows_started": []int{9}, "flows_ended": []int{9}, "records": []int{9},
			"loss_second": []int64{day0.Unix() + 60}, "loss_reason": []string{text}, "loss_packets": []int{5}, "loss_frame_bytes": []int{5}, "loss_records": []int{1}}})
	}
	var first string
	for i, text := range hostile {
		a := scanAlertOf(day0.Add(5 * time.Hour))
		a.Title, a.Actor, a.Victim, a.Detector = text, text, text, text
		a.Entities, a.Reasons, a.Techniques, a.Missing = []string{"actor=" + text}, []string{text}, []string{text}, []string{text}
		a.SubScores, a.Baseline = map[string]float64{text: .5}, text
		a.EvidenceSQL = "SELECT {text:String} AS x, 1 AS `" + strings.ReplaceAll(text, "`", "'") + "`"
		a.EvidenceParams = map[string]string{"text": clickhouse.Text(text)}
		a.FlowIDs = []string{fmt.Sprintf("%s/7/0/%d", strings.ReplaceAll(text, ",", ""), i+1)}
		if raised := r.raise(a); i == 2 {
			first = raised.ID
		}
	}

	var mu sync.Mutex
	var complaints []string
	err := chromedp.Listen(ctx, func(e any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.URL, e.ExceptionDetails.LineNumber, e.ExceptionDetails.Exception))
		case *log.EventEntryAdded:
			complaints = append(complaints, e.Entry.Text+" "+e.Entry.URL)
		case *page.EventJavascriptDialogOpening:
			complaints = append(complaints, "dialog: "+e.Message)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	base := r.serve()
	shown := map[string]string{}
	var pwned bool
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range complaints {
			t.Errorf("the browser complains: %s", c)
		}
	})
	do(t, ctx,
		command(log.Enable, cdp.Empty{}),
		chromedp.EmulateViewport(1280, 1400),
		chromedp.Navigate(base+"/?last=all&by=tls_sni"),
		chromedp.WaitVisible("#flows tbody tr"), chromedp.WaitVisible("#alerts li"), chromedp.WaitVisible("#talkers li"), chromedp.WaitVisible("#ledger tbody tr"),
		evaluate(`document.querySelector('#alerts').textContent`, into(shown, "alerts")),
		evaluate(`document.querySelector('#flows').textContent`, into(shown, "flows")),
		evaluate(`document.querySelector('#talkers').textContent`, into(shown, "talkers")),
		evaluate(`document.querySelector('#ledger').textContent`, into(shown, "ledger")),
		screenshot("hostile-1280"),
		chromedp.Navigate(base+"/?last=all&alert="+first),
		chromedp.WaitVisible("#detail .primary"), chromedp.Click("#detail .primary"), chromedp.WaitVisible("#detail .evidence td"),
		evaluate(`document.querySelector('#detail .evidence').textContent`, into(shown, "evidence")),
		evaluate(`!!window.pwned`, func(v bool) { pwned = v }),
		screenshot("hostile-detail-1280"),
	)
	if pwned {
		t.Error("a text from the wire ran as script")
	}
	for _, name := range []string{"alerts", "flows", "talkers", "ledger", "evidence"} {
		if !strings.Contains(shown[name], hostile[2]) {
			t.Errorf("%s do not show the text as it is: %.300q", name, shown[name])
		}
	}
}

type action = chromedp.Action[chromedp.Void]

func do(t testing.TB, ctx context.Context, steps ...action) {
	t.Helper()
	for i, step := range steps {
		patience, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := chromedp.Do(patience, step)
		cancel()
		if err != nil {
			_ = chromedp.Do(ctx, screenshot("failed"))
			t.Fatalf("step %d: %v", i+1, err)
		}
	}
}

func command[P, R any](c cdp.Command[P, R], p P) action {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, p)
		return chromedp.Void{}, err
	}
}

func evaluate[T any](expression string, then func(T)) action {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		v, err := chromedp.Evaluate[T](expression)(ctx, t)
		if err == nil {
			then(v)
		}
		return chromedp.Void{}, err
	}
}

func into(m map[string]string, name string) func(string) { return func(s string) { m[name] = s } }

// screenshot writes what the browser shows into the folder TAPWATCH_SCREENSHOTS,
// if that is set.
func screenshot(name string) action {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		dir := os.Getenv("TAPWATCH_SCREENSHOTS")
		if dir == "" {
			return chromedp.Void{}, nil
		}
		png, err := chromedp.CaptureScreenshot()(ctx, t)
		if err != nil {
			return chromedp.Void{}, err
		}
		return chromedp.Void{}, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
}

// The page has no scroll bar sideways and shows everything on a wide and on a
// narrow screen, light and dark, and its address holds its state.
func TestPageFits(t *testing.T) {
	ctx := browser(t)
	r := newRig(t, "console_fits", Config{Listen: "127.0.0.1:0"})
	base := r.serve()
	var wide bool
	var text string
	do(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(base+"/"), chromedp.WaitVisible("#empty code"), screenshot("empty-1280"))
	r.fill(24)
	scan := scanAlertOf(day0.Add(20 * time.Hour))
	scan.FlowIDs = []string{fmt.Sprintf("tap-1/%d/0/%d", testEpoch, 20*len(recorded(t))+2), fmt.Sprintf("tap-1/%d/0/%d", testEpoch, 20*len(recorded(t))+3)}
	a := r.raise(scan)
	for i, s := range []alert.Severity{alert.Critical, alert.Medium, alert.Low, alert.Info} {
		other := scanAlertOf(day0.Add(time.Duration(i*5) * time.Hour))
		other.Severity, other.Entities, other.Title = s, []string{"actor=" + string(s)}, "10.20.1.13 talks to update-check.example like a clock"
		r.raise(other)
	}
	for i, width := range []int64{1280, 390} {
		scheme := []string{"light", "dark"}[i]
		for _, view := range []struct{ name, query, wait string }{{"page", "/?last=all", "#flows tbody tr"}, {"alert", "/?alert=" + a.ID, "#detail .scroll tbody tr"}} {
			do(t, ctx,
				chromedp.EmulateViewport(width, 1500),
				command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
				chromedp.Navigate(base+view.query), chromedp.WaitVisible(view.wait), chromedp.WaitVisible("#chart path[d^=M]"), chromedp.WaitVisible("#talkers li"), chromedp.WaitVisible("#apps li"),
				evaluate(`document.documentElement.scrollWidth > innerWidth`, func(v bool) { wide = v }),
				screenshot(fmt.Sprintf("%s-%d-%s", view.name, width, scheme)),
			)
			if wide {
				t.Errorf("%s: wider than %d pixels", view.name, width)
			}
		}
	}
	// Without a range in the address a capture is shown whole, however old.
	do(t, ctx, chromedp.Navigate(base+"/"), chromedp.WaitVisible("#alerts li"), evaluate(`document.querySelector('#ranges [aria-pressed=true]').textContent`, func(s string) { text = s }))
	if text != "all" {
		t.Errorf("a capture is shown for %q", text)
	}
	// Filter by a click on an address; the address bar and the back button follow.
	do(t, ctx,
		chromedp.EmulateViewport(1280, 900), chromedp.Navigate(base+"/?last=all"), chromedp.WaitVisible("#talkers .link"),
		evaluate(`document.querySelector('#talkers .link').click(), location.search`, func(s string) { text = s }),
		chromedp.WaitVisible("#state .filter"),
	)
	if !strings.Contains(text, "host=") || !strings.Contains(text, "last=all") {
		t.Errorf("the address does not hold the state: %q", text)
	}
	do(t, ctx, evaluate(`history.back(), 'x'`, func(string) {}), chromedp.WaitNotPresent("#state .filter"))
}
