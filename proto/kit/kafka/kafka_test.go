package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/twmb/franz-go/pkg/kfake"
)

// cluster starts a broker in this process and returns its address.
func cluster(t *testing.T, options ...kfake.Opt) string {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// authority writes a certificate for 127.0.0.1 that signs itself, and returns its file and the server's settings.
func authority(t *testing.T, notAfter time.Time, addr ...net.IP) (string, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: addr,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// closedPort is an address on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestCheck(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour)
	ca, server := authority(t, tomorrow, net.IPv4(127, 0, 0, 1))
	otherCA, _ := authority(t, tomorrow, net.IPv4(127, 0, 0, 1))
	wrongCA, wrongName := authority(t, tomorrow, net.IPv4(127, 0, 0, 9))
	oldCA, old := authority(t, time.Now().Add(-24*time.Hour), net.IPv4(127, 0, 0, 1))
	plain, closed := cluster(t), closedPort(t)
	secured := cluster(t, kfake.TLS(server))
	misnamed, expired := cluster(t, kfake.TLS(wrongName)), cluster(t, kfake.TLS(old))
	login := cluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "p", "pw"), kfake.Superuser("SCRAM-SHA-256", "s2", "pw"), kfake.Superuser("SCRAM-SHA-512", "s5", "pw"))
	tests := []struct {
		name string
		cfg  Config
		kind error // nil: no error
		hint string
	}{
		{"plain", Config{Brokers: []string{plain}}, nil, ""},
		{"second broker answers", Config{Brokers: []string{closed, plain}}, nil, ""},
		{"tls", Config{Brokers: []string{secured}, TLS: kit.TLS{Enabled: true, CA: ca}}, nil, ""},
		{"SASL PLAIN", Config{Brokers: []string{login}, SASL: SASL{"plain", "p", "pw"}}, nil, ""},
		{"SCRAM 256", Config{Brokers: []string{login}, SASL: SASL{"scram-sha-256", "s2", "pw"}}, nil, ""},
		{"SCRAM 512", Config{Brokers: []string{login}, SASL: SASL{"scram-sha-512", "s5", "pw"}}, nil, ""},
		{"closed port", Config{Brokers: []string{closed}}, ErrUnreachable, "is Kafka running"},
		{"no such name", Config{Brokers: []string{"kafka.invalid:9092"}}, ErrUnreachable, "does not resolve"},
		{"unknown authority", Config{Brokers: []string{secured}, TLS: kit.TLS{Enabled: true, CA: otherCA}}, ErrTLS, "kafka.tls.ca"},
		{"other name", Config{Brokers: []string{misnamed}, TLS: kit.TLS{Enabled: true, CA: wrongCA}}, ErrTLS, "server_name"},
		{"expired", Config{Brokers: []string{expired}, TLS: kit.TLS{Enabled: true, CA: oldCA}}, ErrTLS, "renew it"},
		{"plain to tls", Config{Brokers: []string{secured}}, ErrUnreachable, "does it want TLS"},
		{"wrong password", Config{Brokers: []string{login}, SASL: SASL{"plain", "p", "CANARY"}}, ErrRefused, "kafka.sasl"},
		{"wrong SCRAM password", Config{Brokers: []string{login}, SASL: SASL{"scram-sha-512", "s5", "CANARY"}}, ErrRefused, "kafka.sasl"},
		{"no login given", Config{Brokers: []string{login}}, ErrUnreachable, "a login (kafka.sasl)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.Check(t.Context())
			if !errors.Is(err, tt.kind) || (tt.kind == nil) != (err == nil) || !strings.Contains(kit.HintOf(err), tt.hint) {
				t.Errorf("Check = %v (%s), want %v (%s)", err, kit.HintOf(err), tt.kind, tt.hint)
			}
			if err != nil && (strings.Contains(err.Error(), "CANARY") || !strings.Contains(err.Error(), tt.cfg.Brokers[0])) {
				t.Errorf("%q must name the broker and never the password", err)
			}
		})
	}
}

func TestCheckEndsWithContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c := Config{Brokers: []string{silent.Addr().String()}}
	if err := c.Check(ctx); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Check = %v, want unreachable", err)
	}
}

func TestWrongConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no broker":         {},
		"no port":           {Brokers: []string{"kafka"}},
		"unknown mechanism": {Brokers: []string{"k:1"}, SASL: SASL{Mechanism: "gssapi"}},
		"no mechanism":      {Brokers: []string{"k:1"}, SASL: SASL{Username: "u"}},
		"tls off":           {Brokers: []string{"k:1"}, TLS: kit.TLS{CA: "x"}},
		"no ca file":        {Brokers: []string{"k:1"}, TLS: kit.TLS{Enabled: true, CA: "/does/not/exist"}},
		"ca is no PEM":      {Brokers: []string{"k:1"}, TLS: kit.TLS{Enabled: true, CA: "kafka_test.go"}},
		"cert without key":  {Brokers: []string{"k:1"}, TLS: kit.TLS{Enabled: true, Cert: "x"}},
		"no cert file":      {Brokers: []string{"k:1"}, TLS: kit.TLS{Enabled: true, Cert: "/does/not", Key: "/exist"}},
	} {
		err := c.Validate()
		if err == nil || kit.HintOf(err) == "" {
			t.Errorf("%s: %v (%q), want an error with a hint", name, err, kit.HintOf(err))
		}
		for _, call := range []func() error{
			func() error { return c.Check(t.Context()) },
			func() error { _, err := c.Client(); return err },
			func() error { return c.EnsureTopic(t.Context(), "t", 1, 1, nil) },
			func() error { _, err := c.Partitions(t.Context(), "t"); return err },
		} {
			if got := call(); got == nil || got.Error() != err.Error() {
				t.Errorf("%s: %v, want %v", name, got, err)
			}
		}
	}
}

func TestTopics(t *testing.T) {
	c := Config{Brokers: []string{cluster(t)}}
	if _, err := c.Partitions(t.Context(), "flows.v1"); !errors.Is(err, ErrNoTopic) {
		t.Errorf("Partitions of no topic: %v", err)
	}
	for range 2 {
		if err := c.EnsureTopic(t.Context(), "flows.v1", 3, 1, map[string]string{"retention.ms": "86400000"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.EnsureTopic(t.Context(), "flows.v1", 7, 1, nil); err != nil {
		t.Errorf("a topic that exists stays as it is, got %v", err)
	}
	if n, err := c.Partitions(t.Context(), "flows.v1"); n != 3 || err != nil {
		t.Errorf("Partitions = %d, %v; want 3", n, err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer CloseIdle(client)
	described, err := client.DescribeConfigs(t.Context(), &kafkago.DescribeConfigsRequest{Resources: []kafkago.DescribeConfigRequestResource{
		{ResourceType: kafkago.ResourceTypeTopic, ResourceName: "flows.v1", ConfigNames: []string{"retention.ms"}}}})
	if err != nil || len(described.Resources) != 1 || len(described.Resources[0].ConfigEntries) != 1 || described.Resources[0].ConfigEntries[0].ConfigValue != "86400000" {
		t.Errorf("configs of the topic: %+v, %v", described, err)
	}
	if err := c.EnsureTopic(t.Context(), "replicated", 1, 5, nil); !errors.Is(err, kafkago.InvalidReplicationFactor) || kit.HintOf(err) == "" {
		t.Errorf("five replicas on one broker: %v (%s)", err, kit.HintOf(err))
	}
}

func TestTopicsSayWhyNot(t *testing.T) {
	login := cluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "p", "pw"))
	for name, tt := range map[string]struct {
		cfg  Config
		kind error
	}{
		"closed port":    {Config{Brokers: []string{closedPort(t)}}, ErrUnreachable},
		"wrong password": {Config{Brokers: []string{login}, SASL: SASL{"plain", "p", "no"}}, ErrRefused},
	} {
		start := time.Now()
		if err := tt.cfg.EnsureTopic(t.Context(), "t", 1, 1, nil); !errors.Is(err, tt.kind) || kit.HintOf(err) == "" {
			t.Errorf("%s: EnsureTopic = %v (%s), want %v", name, err, kit.HintOf(err), tt.kind)
		}
		t.Logf("%s: told after %v", name, time.Since(start))
	}
}

func TestRightsAreMissing(t *testing.T) {
	addr := cluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "pw"), kfake.User("PLAIN", "nobody", "pw"))
	root := Config{Brokers: []string{addr}, SASL: SASL{"plain", "root", "pw"}}
	if err := root.EnsureTopic(t.Context(), "flows.v1", 1, 1, nil); err != nil {
		t.Fatal(err)
	}
	nobody := Config{Brokers: []string{addr}, SASL: SASL{"plain", "nobody", "pw"}}
	if err := nobody.EnsureTopic(t.Context(), "flows.v2", 1, 1, nil); !errors.Is(err, ErrRefused) || !strings.Contains(kit.HintOf(err), "ACL") {
		t.Errorf("EnsureTopic without the right = %v (%s)", err, kit.HintOf(err))
	}
	// A broker hides from a user what it may not see, so the hint has to name the right as well.
	if _, err := nobody.Partitions(t.Context(), "flows.v1"); !errors.Is(err, ErrNoTopic) || !strings.Contains(kit.HintOf(err), "describe") {
		t.Errorf("Partitions without the right = %v (%s)", err, kit.HintOf(err))
	}
}

func TestNoGoroutineIsLeft(t *testing.T) {
	addr := cluster(t)
	c := Config{Brokers: []string{addr}}
	use := func() {
		if err := c.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.EnsureTopic(t.Context(), "t", 1, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	use()
	for range 20 {
		use()
	}
	// The broker's side of closed connections ends a moment later: look until it has, or for 5 s.
	stacks := make([]byte, 1<<20)
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		left := strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "segmentio/kafka-go.(*")
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines of kafka-go are left", left)
		}
	}
}
