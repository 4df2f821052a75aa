package service

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

type opsConfig struct {
	Site string     `conf:"site"`
	Ops  ops.Config `conf:"ops"`
}

func TestReady(t *testing.T) {
	o, err := ops.New("check", ops.Config{Listen: "0.0.0.0:0", LogLevel: "error"})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- o.Serve(ctx) }()
	_, port, err := net.SplitHostPort(o.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) (int, string) {
		var out bytes.Buffer
		cmd := Service[opsConfig]{Name: "check", Default: func() opsConfig { return opsConfig{} },
			Run: func(context.Context, opsConfig) error { return nil }}.Command()
		cmd.SetArgs(append([]string{"ready"}, args...))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		return run(t.Context(), cmd), out.String()
	}
	expect := func(name string, code int, part string, args ...string) {
		t.Helper()
		got, text := ask(args...)
		if got != code || !strings.Contains(text, part) || strings.Count(text, "\n") != 1 {
			t.Errorf("%s: (-got +want)\n- %d %q\n+ %d %q", name, got, text, code, part)
		}
	}
	listen := "--ops.listen=0.0.0.0:" + port
	expect("nothing said yet", 1, "not ready: service: starting", listen)
	o.Ready("kafka", errors.New("no broker"))
	o.Ready("clickhouse", nil)
	expect("one component", 1, "error: not ready: kafka: no broker\n", listen)
	o.Ready("kafka", nil)
	expect("all", 0, "tapwatch-check: ready\n", listen)
	expect("any host", 0, "ready", "--ops.listen=:"+port)
	expect("loopback", 0, "ready", "--ops.listen=127.0.0.1:"+port)
	expect("off", 2, "ops.listen is empty")
	expect("no address", 2, "listen address", "--ops.listen=nowhere")
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	expect("ended", 1, "is the service running", listen)
}

func TestReadyOnlyWithOps(t *testing.T) {
	for _, c := range testService(nil).Command().Commands() {
		if c.Name() == "ready" {
			t.Error("a service without ops.Config has the command ready")
		}
	}
}
