package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// realJars is the directory of Apache Kafka's jars, or the test is skipped.
func realJars(t *testing.T) string {
	t.Helper()
	if os.Getenv("TAPWATCH_E2E") != "full" {
		t.Skip("real Kafka takes half a minute: set TAPWATCH_E2E=full")
	}
	if _, err := exec.LookPath("java"); err != nil {
		t.Skip("real Kafka needs Java 17 on the PATH")
	}
	libs := os.Getenv("TAPWATCH_KAFKA_LIBS")
	if libs == "" {
		if cache, err := os.UserCacheDir(); err == nil {
			libs = filepath.Join(cache, "tapwatch", "kafka-libs")
		}
	}
	if found, _ := filepath.Glob(filepath.Join(libs, "kafka_2.13-*.jar")); len(found) == 0 {
		t.Skip("real Kafka's jars are not there: set TAPWATCH_KAFKA_LIBS to their directory")
	}
	return libs
}

// secured is a real broker that speaks TLS only, wants a login, and lets a user do what an ACL says.
func secured(t *testing.T) (addr, ca string) {
	t.Helper()
	libs, dir := realJars(t), t.TempDir()
	ca, server := authority(t, time.Now().Add(24*time.Hour), net.IPv4(127, 0, 0, 1))
	writePair(t, filepath.Join(dir, "keystore.pem"), server.Certificates[0])
	ports := make([]int, 2)
	for i, port := 0, 20000+os.Getpid()%9000; i < len(ports); port++ { // below the range of outgoing connections
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			ports[i] = port
			i++
		}
	}
	addr = fmt.Sprintf("127.0.0.1:%d", ports[0])
	const module = "org.apache.kafka.common.security."
	settings := map[string]string{
		"process.roles": "broker,controller", "node.id": "1", "controller.quorum.voters": fmt.Sprintf("1@127.0.0.1:%d", ports[1]),
		"listeners": fmt.Sprintf("SASL_SSL://%s,CONTROLLER://127.0.0.1:%d", addr, ports[1]), "advertised.listeners": "SASL_SSL://" + addr,
		"controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "SASL_SSL",
		"listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
		"sasl.enabled.mechanisms":        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512", "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
		"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": module + `scram.ScramLoginModule required username="broker" password="broker-secret";`,
		"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": module + `scram.ScramLoginModule required;`,
		"listener.name.sasl_ssl.plain.sasl.jaas.config":         module + `plain.PlainLoginModule required user_admin="admin-secret" user_probe="probe-secret";`,
		"ssl.keystore.type": "PEM", "ssl.keystore.location": filepath.Join(dir, "keystore.pem"),
		"ssl.truststore.type": "PEM", "ssl.truststore.location": ca,
		"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:broker;User:admin;User:ANONYMOUS",
		"log.dirs": filepath.Join(dir, "data"), "offsets.topic.replication.factor": "1", "auto.create.topics.enable": "false",
		"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1", "group.initial.rebalance.delay.ms": "0",
	}
	var text strings.Builder
	for k, v := range settings {
		fmt.Fprintf(&text, "%s=%s\n", k, v)
	}
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	java := func(class string, args ...string) *exec.Cmd {
		cmd := exec.Command("java", append([]string{"-Xms64m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(libs, "*"), class}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	if out, err := java("kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", file,
		"--add-scram", "SCRAM-SHA-512=[name=broker,password=broker-secret]", "--add-scram", "SCRAM-SHA-512=[name=probe,password=probe-secret]",
		"--add-scram", "SCRAM-SHA-256=[name=probe,password=probe-secret]").CombinedOutput(); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	broker := java("kafka.Kafka", file)
	broker.Stdout, broker.Stderr = log, log
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		broker.Process.Kill()
		broker.Wait()
	})
	admin := Config{Brokers: []string{addr}, TLS: kit.TLS{Enabled: true, CA: ca}, SASL: SASL{"plain", "admin", "admin-secret"}}
	for began := time.Now(); ; {
		if err = admin.Check(t.Context()); err == nil {
			return addr, ca
		}
		if time.Since(began) > 2*time.Minute {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("Kafka does not come up: %v\n%s", err, text)
		}
		timer := time.NewTimer(200 * time.Millisecond)
		<-timer.C
	}
}

// writePair writes a certificate and its key as Kafka's PEM key store wants them.
func writePair(t *testing.T, file string, pair tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TLS, each login, and ACLs against Apache Kafka itself.
func TestRealKafkaSecured(t *testing.T) {
	addr, ca := secured(t)
	trusted := kit.TLS{Enabled: true, CA: ca}
	otherCA, _ := authority(t, time.Now().Add(24*time.Hour), net.IPv4(127, 0, 0, 1))
	for name, tt := range map[string]struct {
		tls  kit.TLS
		sasl SASL
		kind error
	}{
		"plain":             {trusted, SASL{"plain", "probe", "probe-secret"}, nil},
		"scram 256":         {trusted, SASL{"scram-sha-256", "probe", "probe-secret"}, nil},
		"scram 512":         {trusted, SASL{"scram-sha-512", "probe", "probe-secret"}, nil},
		"wrong password":    {trusted, SASL{"scram-sha-512", "probe", "CANARY"}, ErrRefused},
		"wrong plain":       {trusted, SASL{"plain", "probe", "CANARY"}, ErrRefused},
		"unknown user":      {trusted, SASL{"scram-sha-256", "nobody", "CANARY"}, ErrRefused},
		"no login":          {trusted, SASL{}, ErrUnreachable},
		"unknown authority": {kit.TLS{Enabled: true, CA: otherCA}, SASL{"plain", "probe", "probe-secret"}, ErrTLS},
		"no tls":            {kit.TLS{}, SASL{"plain", "probe", "CANARY"}, ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			err := Config{Brokers: []string{addr}, TLS: tt.tls, SASL: tt.sasl}.Check(t.Context())
			if !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
				t.Errorf("Check = %v (%s), want %v", err, kit.HintOf(err), tt.kind)
			}
			if err != nil && strings.Contains(err.Error()+kit.HintOf(err), "CANARY") {
				t.Errorf("%v tells the password", err)
			}
		})
	}
	admin := Config{Brokers: []string{addr}, TLS: trusted, SASL: SASL{"plain", "admin", "admin-secret"}}
	if err := admin.EnsureTopic(t.Context(), "flows.v1", 1, 1, nil); err != nil {
		t.Fatal(err)
	}
	probe := Config{Brokers: []string{addr}, TLS: trusted, SASL: SASL{"scram-sha-512", "probe", "probe-secret"}}
	produce := func() error {
		client, err := probe.Client()
		if err != nil {
			t.Fatal(err)
		}
		defer CloseIdle(client)
		answer, err := client.Produce(t.Context(), &kafkago.ProduceRequest{Topic: "flows.v1", Partition: 0, RequiredAcks: kafkago.RequireAll,
			Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes([]byte("x"))})})
		return errors.Join(err, errorOf(answer))
	}
	if err := produce(); err == nil {
		t.Error("a probe without rights may produce")
	}
	client, err := admin.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer CloseIdle(client)
	acl := kafkago.ACLEntry{ResourceType: kafkago.ResourceTypeTopic, ResourceName: "flows.v1", ResourcePatternType: kafkago.PatternTypeLiteral,
		Principal: "User:probe", Host: "*", PermissionType: kafkago.ACLPermissionTypeAllow}
	write, describe := acl, acl
	write.Operation, describe.Operation = kafkago.ACLOperationTypeWrite, kafkago.ACLOperationTypeDescribe
	granted, err := client.CreateACLs(t.Context(), &kafkago.CreateACLsRequest{ACLs: []kafkago.ACLEntry{write, describe}})
	if err != nil || errors.Join(granted.Errors...) != nil {
		t.Fatalf("grant: %v, %v", err, granted)
	}
	for began := time.Now(); ; {
		if err = produce(); err == nil {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("a probe that may write cannot: %v", err)
		}
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
	}
	if err := probe.EnsureTopic(t.Context(), "other", 1, 1, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("a probe makes a topic: %v", err)
	}
}

func errorOf(r *kafkago.ProduceResponse) error {
	if r == nil {
		return nil
	}
	return r.Error
}
