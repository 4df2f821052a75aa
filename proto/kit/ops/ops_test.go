package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// start serves an Ops until the test ends, and returns the address.
func start(t *testing.T) (*Ops, string) {
	t.Helper()
	o, err := New("test", Config{Listen: "127.0.0.1:0", LogLevel: "error"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Addr() != "" {
		t.Errorf("Addr before Listen = %q", o.Addr())
	}
	if err := o.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v, want nil at the end of its context", err)
		}
		if c, err := net.Dial("tcp", o.Addr()); err == nil {
			c.Close()
			t.Error("the port is still open after Serve")
		}
	})
	return o, "http://" + o.Addr()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestReadiness(t *testing.T) {
	o, url := start(t)
	steps := []struct {
		name string
		do   func()
		code int
		want map[string]string
	}{
		{"nothing said yet", func() {}, 503, map[string]string{"service": "starting"}},
		{"one waits", func() { o.Ready("kafka", kit.Hint(errors.New("connection refused"), "start it")) }, 503,
			map[string]string{"kafka": "connection refused (start it)"}},
		{"one of two", func() { o.Ready("clickhouse", nil) }, 503, map[string]string{"kafka": "connection refused (start it)", "clickhouse": "ok"}},
		{"both", func() { o.Ready("kafka", nil) }, 200, map[string]string{"kafka": "ok", "clickhouse": "ok"}},
		{"lost again", func() { o.Ready("clickhouse", io.EOF) }, 503, map[string]string{"kafka": "ok", "clickhouse": "EOF"}},
	}
	for _, s := range steps {
		s.do()
		code, body := get(t, url+"/readyz")
		var got struct {
			Ready      bool
			Components map[string]string
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if code != s.code || got.Ready != (s.code == 200) || len(got.Components) != len(s.want) {
			t.Errorf("%s: %d %s, want %d %v", s.name, code, body, s.code, s.want)
		}
		for c, reason := range s.want {
			if got.Components[c] != reason {
				t.Errorf("%s: %s is %q, want %q", s.name, c, got.Components[c], reason)
			}
		}
		if code, body := get(t, url+"/healthz"); code != 200 || !strings.Contains(body, `"alive":true`) {
			t.Errorf("%s: /healthz = %d %s", s.name, code, body)
		}
	}
	_, metrics := get(t, url+"/metrics")
	for _, want := range []string{`tapwatch_test_ops_component_ready{component="clickhouse"} 0`, `tapwatch_test_ops_component_ready{component="kafka"} 1`,
		"go_goroutines", "process_cpu_seconds_total", "go_build_info"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestPortInUse(t *testing.T) {
	first, _ := start(t)
	second, err := New("test", Config{Listen: first.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	err = second.Serve(t.Context())
	if err == nil || err.Error() != "listen "+first.Addr()+": address already in use" || !strings.Contains(kit.HintOf(err), "another listen address") {
		t.Errorf("Serve = %v (%s)", err, kit.HintOf(err))
	}
}

func TestOff(t *testing.T) {
	o, err := New("test", Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Serve(ctx); err != nil || o.Addr() != "" {
		t.Errorf("Serve = %v, Addr = %q; want nothing", err, o.Addr())
	}
}

func TestWrongConfig(t *testing.T) {
	for _, cfg := range []Config{{Listen: "9100"}, {LogLevel: "loud"}, {LogFormat: "xml"}} {
		if _, err := New("test", cfg); err == nil || kit.HintOf(err) == "" {
			t.Errorf("%+v: %v, want an error with a hint", cfg, err)
		}
	}
}

func TestHugeHeaderIsRefused(t *testing.T) {
	_, url := start(t)
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Big", strings.Repeat("x", 64<<10))
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return // hung up on is refused too
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 64 KiB got %d", answer.StatusCode)
	}
}

func TestLogEscapesTheWire(t *testing.T) {
	const hostile = "evil\x1b[2J\u009b31m\u202egnp.exe\r\nlevel=ERROR forged\x00\x7f\xff\U000e0041"
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log, err := NewLogger(&out, "debug", format)
		if err != nil {
			t.Fatal(err)
		}
		log.Info(hostile, hostile, hostile, "error", errors.New(hostile), "any", struct{ A string }{hostile}, "bytes", []byte(hostile),
			slog.Group(hostile, "x", hostile), "secret", config.Secret("CANARY"))
		text := out.String()
		if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: more than one line: %q", format, text)
		}
		for _, r := range strings.TrimSuffix(text, "\n") {
			if !unicode.IsPrint(r) {
				t.Errorf("%s: %U in %q", format, r, text)
			}
		}
		if !strings.Contains(text, "evil") || strings.Contains(text, "CANARY") {
			t.Errorf("%s: %q", format, text)
		}
		if format == "json" {
			var back map[string]any
			if err := json.Unmarshal(out.Bytes(), &back); err != nil {
				t.Fatalf("escaped JSON does not parse: %v\n%s", err, text)
			}
			if want := strings.ToValidUTF8(hostile, "\ufffd"); back["msg"] != want {
				t.Errorf("msg (-got +want)\n- %q\n+ %q", back["msg"], want)
			}
		}
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[0m", "a\u202eb", "\xff\xfe", "\U000e0041", "\ufffd", "naïve ☃"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, r := range string(Printable(text)) {
			if !unicode.IsPrint(r) {
				t.Errorf("%U in Printable(%q)", r, text)
			}
		}
	})
}

func TestStages(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s := StageLatency(reg, "probe")
	s.Observe(FlowEndToKafka, 40*time.Millisecond)
	s.Observe(FlowEndToKafka, -time.Second)
	s.Observe(PacketToFlowEnd, 50*time.Minute)
	s.Lag(PacketToFlowEnd, 7*time.Second)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			labels := ""
			for _, l := range m.Label {
				labels += " " + l.GetValue()
			}
			switch {
			case m.Histogram != nil:
				got[f.GetName()+labels] = m.Histogram.GetSampleSum()
				if n := len(m.Histogram.Bucket); m.Histogram.Bucket[0].GetUpperBound() != .001 || m.Histogram.Bucket[n-1].GetUpperBound() != 3600 {
					t.Errorf("%s: buckets do not span 1 ms to 1 h", f.GetName())
				}
			case m.Gauge != nil:
				got[f.GetName()+labels] = m.Gauge.GetValue()
			default:
				got[f.GetName()+labels] = m.Counter.GetValue()
			}
		}
	}
	for name, want := range map[string]float64{
		"tapwatch_stage_latency_seconds probe flow_end_to_kafka":        .04,
		"tapwatch_stage_latency_seconds probe packet_to_flow_end":       3000,
		"tapwatch_stage_lag_seconds probe packet_to_flow_end":           7,
		"tapwatch_stage_latency_negative_total probe flow_end_to_kafka": 1,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v (all: %v)", name, got[name], want, got)
		}
	}
}
