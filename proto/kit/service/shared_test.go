package service

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// sharedConfig holds what the kit offers to every service.
type sharedConfig struct {
	Ops        ops.Config        `conf:"ops"`
	Kafka      kafka.Config      `conf:"kafka"`
	ClickHouse clickhouse.Config `conf:"clickhouse"`
}

// TestSharedConfigs gives every kind of source a part of the shared configuration, and reads the printed result back.
func TestSharedConfigs(t *testing.T) {
	const canary = "CANARY-51d0"
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "pw"), filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(secret, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("ops: {listen: '127.0.0.1:9100'}\nkafka: {brokers: [a:1], sasl: {password: 'file:"+secret+"'}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TAPWATCH_SHARED_KAFKA_SASL_USERNAME", "tap")
	t.Setenv("TAPWATCH_SHARED_CLICKHOUSE_PASSWORD", canary)
	var got sharedConfig
	s := Service[sharedConfig]{Name: "shared", Default: func() sharedConfig { return sharedConfig{} },
		Run: func(_ context.Context, c sharedConfig) error { got = c; return nil }}
	args := []string{"-c", file, "--kafka.sasl.mechanism=scram-sha-512", "--kafka.tls.enabled", "--clickhouse.addr=x:1,y:2"}
	call := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		cmd := s.Command()
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		if code := run(t.Context(), cmd); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, &out)
		}
		return out.String()
	}
	call(args...)
	if got.Ops.Listen != "127.0.0.1:9100" || got.Kafka.Brokers[0] != "a:1" || got.Kafka.SASL.Mechanism != "scram-sha-512" || got.Kafka.SASL.Username != "tap" ||
		!got.Kafka.TLS.Enabled || len(got.ClickHouse.Addr) != 2 || got.Kafka.SASL.Password.Reveal() != canary || got.ClickHouse.Password.Reveal() != canary {
		t.Errorf("not all sources arrived: %+v", got)
	}
	if err := got.Kafka.Validate(); err != nil {
		t.Error(err)
	}
	printed := call(append([]string{"print-config"}, args...)...)
	if strings.Contains(printed, canary) || strings.Count(printed, "'***'") != 2 {
		t.Errorf("print-config:\n%s", printed)
	}
	again := filepath.Join(dir, "again.yaml")
	if err := os.WriteFile(again, []byte(strings.ReplaceAll(printed, "'***'", "'"+"file:"+secret+"'")), 0o600); err != nil {
		t.Fatal(err)
	}
	if second := call("print-config", "-c", again); second != printed {
		t.Errorf("read back (-got +want)\n- %s\n+ %s", second, printed)
	}
}
