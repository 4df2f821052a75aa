package collector_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit/kafka"
)

// node is a real Apache Kafka, broker and controller in one process.
type node struct {
	addr string
	dir  string
	args []string
	cmd  *exec.Cmd
}

func (n *node) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	n.cmd = exec.Command("java", n.args...)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (n *node) kill() {
	n.cmd.Process.Kill()
	n.cmd.Wait()
}

// jars are those of Apache Kafka: where TAPWATCH_KAFKA_LIBS says, or fetched by
// Maven into the user's cache, as ../shared/kafka/pom.xml lists them.
func jars(t testing.TB) string {
	t.Helper()
	if os.Getenv("TAPWATCH_E2E") != "full" {
		t.Skip("takes minutes: set TAPWATCH_E2E=full")
	}
	if _, err := exec.LookPath("java"); err != nil {
		t.Skip("real Kafka needs Java 17 on the PATH")
	}
	if libs := os.Getenv("TAPWATCH_KAFKA_LIBS"); libs != "" {
		return libs
	}
	pom, err := filepath.Abs("../../shared/kafka/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pom); err != nil {
		t.Skip("real Kafka's jars are not known: set TAPWATCH_KAFKA_LIBS to their directory, or have ../shared/kafka beside the project")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	libs := filepath.Join(cache, "tapwatch", "kafka-libs")
	if found, _ := filepath.Glob(filepath.Join(libs, "kafka_2.13-*.jar")); len(found) > 0 {
		return libs
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		t.Skip("real Kafka needs Maven once, to fetch its jars")
	}
	out, err := exec.Command(mvn, "-q", "-B", "-ntp", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+libs).CombinedOutput()
	if err != nil {
		t.Fatalf("fetch Kafka's jars: %v\n%s", err, out)
	}
	return libs
}

// startNodes runs n brokers, which all replicate to each other.
func startNodes(t testing.TB, n int) []*node {
	t.Helper()
	libs := jars(t)
	var ports []int
	for port := 21000 + os.Getpid()%8000; len(ports) < 2*n; port++ { // below the range of outgoing connections
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			ports = append(ports, port)
		}
	}
	var voters []string
	for i := range n {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i+1, ports[n+i]))
	}
	var nodes []*node
	for i := range n {
		dir := t.TempDir()
		conf := filepath.Join(dir, "server.properties")
		text := fmt.Sprintf(`process.roles=broker,controller
node.id=%d
controller.quorum.voters=%s
listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d
advertised.listeners=PLAINTEXT://127.0.0.1:%[3]d
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=%[5]s/data
default.replication.factor=%[6]d
min.insync.replicas=%[7]d
offsets.topic.replication.factor=%[6]d
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=%[6]d
transaction.state.log.min.isr=%[7]d
share.coordinator.state.topic.replication.factor=%[6]d
share.coordinator.state.topic.min.isr=%[7]d
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=6000
`, i+1, strings.Join(voters, ","), ports[i], ports[n+i], dir, n, (n+1)/2)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		jvm := []string{"-Xms128m", "-Xmx400m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", libs + "/*"}
		out, err := exec.Command("java", append(jvm, "kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", conf)...).CombinedOutput()
		if err != nil {
			t.Fatalf("format: %v\n%s", err, out)
		}
		node := &node{addr: fmt.Sprintf("127.0.0.1:%d", ports[i]), dir: dir, args: append(jvm, "kafka.Kafka", conf)}
		node.start(t)
		t.Cleanup(node.kill)
		nodes = append(nodes, node)
	}
	return nodes
}

// answers waits until the brokers do.
func answers(t testing.TB, nodes []*node) (addrs []string) {
	t.Helper()
	for _, n := range nodes {
		addrs = append(addrs, n.addr)
		for deadline := time.Now().Add(2 * time.Minute); ; pause(300 * time.Millisecond) {
			if (kafka.Config{Brokers: []string{n.addr}}).Check(t.Context()) == nil {
				break
			}
			if time.Now().After(deadline) {
				log, _ := os.ReadFile(filepath.Join(n.dir, "log"))
				t.Fatalf("Kafka at %s does not answer: %s", n.addr, log[max(0, len(log)-2000):])
			}
		}
	}
	return addrs
}

// TestRealKafka: Apache Kafka of one node and of three, each of which is killed
// while two collectors are at work; the leaders of its partitions go elsewhere.
func TestRealKafka(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			nodes := startNodes(t, n)
			r := newRigOn(t, 3, n, answers(t, nodes)...)
			cfg := r.cfg
			cfg.Block.MaxWait = 100 * time.Millisecond
			metric := r.serveMetrics(&cfg)
			values := load(t, 120, 200)
			r.start(cfg)
			second := r.start(r.cfg)
			for i, v := range values {
				insist(t, r.client, cfg.Topic, i%3, v)
				if i%30 == 15 {
					before := r.count("SELECT count() FROM batches")
					r.until(fmt.Sprintf("SELECT toUInt64(count() > %d) FROM batches", before), 1, time.Minute)
					dead := nodes[i/30%n]
					dead.kill()
					pause(500 * time.Millisecond)
					dead.start(t)
				}
				if i == 70 {
					second()
				}
			}
			r.exactly(values...)
			if n := metric("tapwatch_collector_consume_holes_total"); n != 0 {
				t.Errorf("%v holes: messages were skipped", n)
			}
		})
	}
}
