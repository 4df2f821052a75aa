package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// kafkaClient is a client with a connection pool of its own.
func kafkaClient(t *testing.T, addr string) *kafka.Client {
	tr := &kafka.Transport{MetadataTTL: time.Second}
	t.Cleanup(tr.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(addr), Transport: tr, Timeout: 10 * time.Second}
}

// produce stores one record per value, acknowledged by all.
func produce(t *testing.T, c *kafka.Client, topic string, partition int, values ...string) {
	t.Helper()
	records := make([]kafka.Record, len(values))
	for i, v := range values {
		records[i] = kafka.Record{Value: kafka.NewBytes([]byte(v)), Time: time.Unix(1_000_000_000, 0)} // long past: age must not matter
	}
	resp, err := c.Produce(t.Context(), &kafka.ProduceRequest{Topic: topic, Partition: partition, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
	if err == nil {
		err = resp.Error
	}
	if err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// offsets returns the first offset and the one after the last.
func offsets(t *testing.T, c *kafka.Client, topic string, partition int) (first, next int64) {
	t.Helper()
	resp, err := c.ListOffsets(t.Context(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition)}}})
	if err != nil {
		t.Fatalf("list offsets: %v", err)
	}
	p := resp.Topics[topic][0]
	if p.Error != nil {
		t.Fatalf("list offsets: %v", p.Error)
	}
	return p.FirstOffset, p.LastOffset
}

// readAll reads the values of a partition from its first offset.
func readAll(t *testing.T, addr, topic string, partition int, n int) []string {
	t.Helper()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{addr}, Topic: topic, Partition: partition, MaxWait: 50 * time.Millisecond})
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []string
	for len(got) < n {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatalf("read after %d of %d: %v", len(got), n, err)
		}
		got = append(got, string(m.Value))
	}
	return got
}

// commitInGroup joins group, commits offset for partition 0 of topic, and leaves.
func commitInGroup(t *testing.T, addr, group, topic string, offset int64) {
	t.Helper()
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: group, Brokers: []string{addr}, Topics: []string{topic},
		HeartbeatInterval: 500 * time.Millisecond, SessionTimeout: 10 * time.Second, JoinGroupBackoff: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	gen, err := g.Next(ctx)
	if err != nil {
		t.Fatalf("join group: %v", err)
	}
	if len(gen.Assignments[topic]) == 0 {
		t.Fatalf("assignments: %v, want a partition of %s", gen.Assignments, topic)
	}
	if err := gen.CommitOffsets(map[string]map[int]int64{topic: {0: offset}}); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func committed(t *testing.T, c *kafka.Client, group, topic string) int64 {
	t.Helper()
	resp, err := c.OffsetFetch(t.Context(), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	if err == nil {
		err = resp.Error
	}
	if err != nil {
		t.Fatalf("fetch offset: %v", err)
	}
	return resp.Topics[topic][0].CommittedOffset
}

func TestKafkaKeepsDataOverRestart(t *testing.T) {
	before := runtime.NumGoroutine()
	cfg := KafkaConfig{Dir: t.TempDir(), Topics: map[string]int32{"flows": 3, "dead": 1}}
	k, err := StartKafka(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := kafkaClient(t, k.Addr())
	produce(t, c, "flows", 0, "a", "b")
	produce(t, c, "flows", 2, "c")
	commitInGroup(t, k.Addr(), "collector", "flows", 1)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	c.Transport.(*kafka.Transport).CloseIdleConnections()
	waitFor(t, "goroutines end", 10*time.Second, func() bool { return runtime.NumGoroutine() <= before })

	cfg.Topics["new"] = 1
	k, err = StartKafka(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c = kafkaClient(t, k.Addr())
	if got, want := fmt.Sprint(readAll(t, k.Addr(), "flows", 0, 2), readAll(t, k.Addr(), "flows", 2, 1)), "[a b] [c]"; got != want {
		t.Errorf("records (-got +want)\n-%s\n+%s", got, want)
	}
	if got := committed(t, c, "collector", "flows"); got != 1 {
		t.Errorf("committed offset: got %d, want 1", got)
	}
	produce(t, c, "new", 0, "x")
}

func TestKafkaRefuses(t *testing.T) {
	cfg := KafkaConfig{Dir: t.TempDir(), Topics: map[string]int32{"flows": 2}}
	k, err := StartKafka(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(k.Addr())
	taken, _ := strconv.Atoi(port)
	refused := func(name string, cfg KafkaConfig, sentinel error, says string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		got, err := StartKafka(ctx, cfg, nil)
		if err == nil {
			got.Close()
		}
		if err == nil || sentinel != nil && !errors.Is(err, sentinel) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, says)
		}
	}
	refused("second instance", cfg, ErrInUse, cfg.Dir)
	refused("taken port", KafkaConfig{Dir: t.TempDir(), Port: taken}, ErrInUse, port)
	refused("no directory", KafkaConfig{}, nil, "no directory")
	refused("no partitions", KafkaConfig{Dir: t.TempDir(), Topics: map[string]int32{"x": 0}}, nil, "at least 1")
	refused("port out of range", KafkaConfig{Dir: t.TempDir(), Port: 70000}, nil, "65535")
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	refused("other partition count", KafkaConfig{Dir: cfg.Dir, Topics: map[string]int32{"flows": 3}}, nil, "2 partitions")
}

func TestKafkaSurvivesHostileClients(t *testing.T) {
	k, err := StartKafka(t.Context(), KafkaConfig{Dir: t.TempDir(), Topics: map[string]int32{"flows": 1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	request := func(size uint32, key, version uint16, body string) string {
		b := binary.BigEndian.AppendUint32(nil, size)
		b = binary.BigEndian.AppendUint16(b, key)
		b = binary.BigEndian.AppendUint16(b, version)
		return string(b) + "\x00\x00\x00\x01\x00\x00" + body
	}
	for _, text := range []string{
		"", "\x00", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("\xff", 4096),
		request(0xfffffff0, 3, 1, ""), request(10, 12345, 0, ""), request(10, 0xffff, 0, ""), request(10, 3, 9999, ""), request(10, 18, 9999, ""),
		request(3, 3, 1, ""), request(1000, 3, 1, "torn"), request(14, 3, 1, "\x7f\xff\xff\xff"), request(40, 0, 3, strings.Repeat("\xfe", 30)),
	} {
		reset(t, k.Addr(), text)
		conn, err := net.Dial("tcp", k.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte(text))
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		for err == nil {
			_, err = conn.Read(make([]byte, 512))
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: not hung up on", text)
		}
		conn.Close()
	}
	c := kafkaClient(t, k.Addr())
	produce(t, c, "flows", 0, "still here")
	if got := readAll(t, k.Addr(), "flows", 0, 1); got[0] != "still here" {
		t.Errorf("got %q", got)
	}
}

func TestKafkaRetention(t *testing.T) {
	cfg := KafkaConfig{Dir: t.TempDir(), Topics: map[string]int32{"flows": 1}, RetentionBytes: 1} // so one segment
	k, err := StartKafka(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c := kafkaClient(t, k.Addr())
	value := strings.Repeat("x", 1<<20)
	const records = 40
	for range records {
		produce(t, c, "flows", 0, value)
	}
	if first, next := offsets(t, c, "flows", 0); first != 0 || next != records {
		t.Fatalf("offsets before: %d to %d, want 0 to %d", first, next, records)
	}
	k.cluster.ApplyRetention()
	first, next := offsets(t, c, "flows", 0)
	if next != records || first < records-segmentBytes>>20 || first >= records-1 {
		t.Errorf("offsets after: %d to %d, want about the last %d", first, next, segmentBytes>>20)
	}
	var size int64
	filepath.Walk(cfg.Dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			size += info.Size()
		}
		return nil
	})
	if size > 3*segmentBytes {
		t.Errorf("log takes %d bytes of disk, want under %d", size, 3*segmentBytes)
	}
}

func TestKafkaProcessKilled(t *testing.T) {
	for _, sync := range []bool{false, true} {
		t.Run(fmt.Sprintf("sync=%v", sync), func(t *testing.T) {
			p, err := StartKafkaProcess(t.Context(), KafkaConfig{Dir: t.TempDir(), Topics: map[string]int32{"flows": 1}, Sync: sync}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := p.Restart(t.Context()); err == nil {
				t.Fatal("started twice")
			}
			addr, want := p.Addr(), []string{}
			c := kafkaClient(t, addr)
			for round := range 4 {
				for i := range 20 {
					v := fmt.Sprintf("%d.%d", round, i)
					produce(t, c, "flows", 0, v)
					want = append(want, v)
				}
				if round == 0 {
					commitInGroup(t, addr, "collector", "flows", 5)
				}
				pid := p.PID()
				if err := p.Kill(); err != nil {
					t.Fatal(err)
				}
				if !gone(pid) || p.PID() != 0 {
					t.Fatalf("process %d is still there", pid)
				}
				if err := p.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				c.Transport.(*kafka.Transport).CloseIdleConnections()
			}
			if p.Addr() != addr {
				t.Errorf("port moved: %s, was %s", p.Addr(), addr)
			}
			if _, next := offsets(t, c, "flows", 0); next != int64(len(want)) {
				t.Errorf("records: got %d, want %d", next, len(want))
			}
			if got := readAll(t, addr, "flows", 0, len(want)); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("records (-got +want)\n-%v\n+%v", got, want)
			}
			if got := committed(t, c, "collector", "flows"); got != 5 {
				t.Errorf("committed offset: got %d, want 5", got)
			}
			pid := p.PID()
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if !gone(pid) {
				t.Errorf("process %d is still there", pid)
			}
		})
	}
}

// A kill can leave half of a record batch at the end of the log.
func TestKafkaTornWrite(t *testing.T) {
	cfg := KafkaConfig{Dir: t.TempDir(), Topics: map[string]int32{"flows": 1}}
	p, err := StartKafkaProcess(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := kafkaClient(t, p.Addr())
	produce(t, c, "flows", 0, "first", "second")
	produce(t, c, "flows", 0, "third")
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(cfg.Dir, "data", "partitions", "*", "*.dat"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("segments: %v, %v, want one", logs, err)
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logs[0], append(text, text[:len(text)/3]...), 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		if err := p.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Transport.(*kafka.Transport).CloseIdleConnections()
		produce(t, c, "flows", 0, fmt.Sprintf("after %d", round))
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(readAll(t, p.Addr(), "flows", 0, 5)), "[first second third after 0 after 1]"; got != want {
		t.Errorf("records (-got +want)\n-%s\n+%s", got, want)
	}
	c.Transport.(*kafka.Transport).CloseIdleConnections()
	if first, next := offsets(t, c, "flows", 0); first != 0 || next != 5 {
		t.Errorf("offsets: %d to %d, want 0 to 5", first, next)
	}
}

func TestKafkaProcessRefused(t *testing.T) {
	k, err := StartKafka(t.Context(), KafkaConfig{Dir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	_, text, _ := net.SplitHostPort(k.Addr())
	port, _ := strconv.Atoi(text)
	if _, err := StartKafkaProcess(t.Context(), KafkaConfig{Dir: t.TempDir(), Port: port}, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("taken port: got %v, want ErrInUse", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := StartKafkaProcess(t.Context(), KafkaConfig{Dir: file}, nil); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("directory is a file: got %v, want an error that names it", err)
	}
}
