package notify

import (
	"encoding/json"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// All revisions of an alert are in one partition, in order, under one key; a topic
// that is not there yet is waited for.
func TestKafka(t *testing.T) {
	k := localtest.TestKafka(t)
	conn, _ := connect(t, "notify_kafka")
	access := kafka.Config{Brokers: []string{k.Addr()}}
	cfg := quick("http://127.0.0.1:1")
	cfg.Webhooks = nil
	cfg.Kafka = []Topic{{Name: "siem", Topic: "alerts.v1", Kafka: access}}
	raise(t, conn, 0, 3, alert.High, 1)
	stop := start(t, cfg, conn)
	defer stop()
	until(t, "an attempt", func() bool { return statuses(t, conn)[pending] > 0 })
	if err := access.EnsureTopic(t.Context(), "alerts.v1", 3, 1, nil); err != nil {
		t.Fatal(err)
	}
	settle(t, conn, delivered, 3)
	raise(t, conn, 0, 3, alert.Critical, 1)
	settle(t, conn, delivered, 6)
	stop()
	seen := map[string][]uint32{}
	for partition := range 3 {
		r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: access.Brokers, Topic: "alerts.v1", Partition: partition, MaxWait: 100 * time.Millisecond})
		last, err := r.ReadLag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range last {
			m, err := r.ReadMessage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var p Payload
			if err := json.Unmarshal(m.Value, &p); err != nil {
				t.Fatal(err)
			}
			if string(m.Key) != p.ID || string(m.Headers[0].Value) != p.Key {
				t.Errorf("key %s, headers %v of %s", m.Key, m.Headers, p.Key)
			}
			at := p.ID
			seen[at] = append(seen[at], p.Revision)
		}
		r.Close()
	}
	for id, revisions := range seen {
		if len(revisions) != 2 || revisions[0] >= revisions[1] {
			t.Errorf("%s: %v", id, revisions)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d alerts", len(seen))
	}
}
