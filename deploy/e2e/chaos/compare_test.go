package chaos

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// findings are the differences between what was accepted, what Kafka holds and
// what is stored.
type findings struct {
	batches   int // identities in Kafka
	messages  int // of them and their repetitions
	maybe     int // begun, and killed before anybody knew; in Kafka or not
	waiting   int // seen in the spool of a dead probe
	published int // flows of all identities
	stored    int // rows
	missing   int
	double    int
	altered   int
	stray     int            // rows that nobody published
	junk      map[place]bool // messages that cannot be decoded
	late      int            // messages older than retention
	ledger    map[string]int // messages by what batches says of them
	other     []string
}

func newFindings() *findings { return &findings{junk: map[place]bool{}, ledger: map[string]int{}} }

// wrong reports whether anything is not as it has to be.
func (f *findings) wrong() bool {
	return f.missing+f.double+f.altered+f.stray+len(f.other) > 0
}

func (f *findings) note(format string, args ...any) {
	if len(f.other) < 20 {
		f.other = append(f.other, fmt.Sprintf(format, args...))
	}
}

// place is where a message stands in Kafka.
type place struct {
	partition int32
	offset    int64
}

// published is a batch in Kafka.
type published struct {
	sum       [32]byte // of the message
	site      string
	rows      []uint64 // hash of each
	seen      []uint8  // how often each is stored
	places    map[place]int64
	packets   uint64 // in its ledger
	endOfFlow bool
	expired   bool // it must not be stored
}

// readKafka returns all batches there are, and how many messages each partition has.
func (r *rig) readKafka(f *findings) (map[batchID]*published, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	all := map[batchID]*published{}
	decoder := flow.NewReader()
	for p := range partitions {
		conn, err := kafkago.DialLeader(ctx, "tcp", r.kafka.Addr(), killTopic, p)
		if err != nil {
			return nil, err
		}
		first, end, err := conn.ReadOffsets()
		if err := errors.Join(err, conn.Close()); err != nil {
			return nil, err
		}
		if first != 0 {
			return nil, fmt.Errorf("partition %d begins at %d", p, first)
		}
		reader := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{r.kafka.Addr()}, Topic: killTopic, Partition: p, MaxBytes: 16 << 20, MaxWait: 100 * time.Millisecond})
		for next := int64(0); next < end; next++ {
			m, err := reader.ReadMessage(ctx)
			if err != nil {
				return nil, errors.Join(err, reader.Close())
			}
			if m.Offset != next {
				f.note("kafka partition %d: offset %d after %d", p, m.Offset, next-1)
				next = m.Offset
			}
			if err := keepMessage(all, decoder, &m, f); err != nil {
				return nil, errors.Join(err, reader.Close())
			}
		}
		if err := reader.Close(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func keepMessage(all map[batchID]*published, decoder *flow.Reader, m *kafkago.Message, f *findings) error {
	b, err := decoder.Read(m.Value)
	if err != nil {
		f.messages++
		f.junk[place{int32(m.Partition), m.Offset}] = true
		return nil
	}
	h := b.Header()
	id := batchID{h.Probe, h.Epoch, h.Worker, h.Seq}
	at, sum := place{int32(m.Partition), m.Offset}, sha256.Sum256(m.Value)
	f.messages++
	if have := all[id]; have != nil {
		if have.sum != sum {
			f.note("%v is in Kafka with two contents", id)
		}
		have.places[at] = m.Time.UnixMilli()
		return nil
	}
	p := &published{sum: sum, site: h.Site, places: map[place]int64{at: m.Time.UnixMilli()}, rows: make([]uint64, b.Len()), seen: make([]uint8, b.Len()), endOfFlow: h.EndOfStream}
	var r flow.Record
	for i := range p.rows {
		b.Record(i, &r)
		p.rows[i] = rowHash(&r)
	}
	for _, s := range h.Ledger {
		p.packets += s.SeenPackets
	}
	if p.expired = id.Probe == expiredProbe; p.expired {
		p.rows, p.seen = nil, nil
		f.late++
	}
	all[id] = p
	f.batches++
	f.published += len(p.rows)
	return nil
}

// compareAccepted holds what the spools accepted against what Kafka has.
func (r *rig) compareAccepted(all map[batchID]*published, f *findings) error {
	journal, err := readJournal(r.s.Journal)
	if err != nil {
		return err
	}
	journalled := map[batchID]bool{}
	next := 0
	var rec flow.Record
	for _, e := range journal {
		journalled[e.id()] = true
		p := all[e.id()]
		if e.Accepted {
			if e.First != next {
				f.note("flows [%d,%d) are in no batch or in two", next, e.First)
			}
			next = e.First + e.Count
		} else {
			f.maybe++
		}
		switch {
		case p == nil && e.Accepted:
			f.missing += e.Count
			f.note("%v was accepted and is not in Kafka", e.id())
			continue
		case p == nil:
			continue
		case len(p.rows) != e.Count:
			f.note("%v has %d flows in Kafka, not %d", e.id(), len(p.rows), e.Count)
			continue
		}
		for i, hash := range p.rows {
			if makeFlow(r.seed, e.First+i, &rec); hash != rowHash(&rec) {
				f.altered++
				f.note("flow %d is another one in Kafka", e.First+i)
			}
		}
	}
	if next != r.flows {
		f.note("%d of %d flows were accepted", next, r.flows)
	}
	last := map[batchID]uint64{} // Seq 0: of the (probe, epoch, worker)
	count := map[batchID]uint64{}
	for id := range all {
		if id.Probe == flowProbe && !journalled[id] {
			f.note("%v is in Kafka and was never made", id)
		}
		who := batchID{id.Probe, id.Epoch, id.Worker, 0}
		last[who] = max(last[who], id.Seq)
		count[who]++
	}
	for who, n := range count {
		if n != last[who] {
			f.note("%v: %d batches in Kafka, the last one is number %d", who, n, last[who])
		}
	}
	f.waiting = len(r.spooled)
	for id, sum := range r.spooled {
		switch p := all[id]; {
		case p == nil:
			f.missing++
			f.note("%v was in the spool at a kill and is not in Kafka", id)
		case p.sum != sum:
			f.note("%v was other bytes in the spool than it is in Kafka", id)
		}
	}
	return nil
}

// settled reports whether every message has been dealt with.
func (r *rig) settled(messages int) (bool, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if !r.naive {
		var n uint64
		err := r.db.QueryRow(ctx, "SELECT uniqExact(kafka_partition, kafka_offset) FROM batches WHERE topic = ?", killTopic).Scan(&n)
		return err == nil && int(n) == messages, fmt.Sprintf("%d of %d messages (%v)", n, messages, err)
	}
	client := &kafkago.Client{Addr: kafkago.TCP(r.kafka.Addr()), Transport: &kafkago.Transport{}}
	defer client.Transport.(*kafkago.Transport).CloseIdleConnections()
	ids := make([]int, partitions)
	for i := range ids {
		ids[i] = i
	}
	got, err := client.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: r.s.Group, Topics: map[string][]int{killTopic: ids}})
	if err != nil {
		return false, err.Error()
	}
	var n int64
	for _, p := range got.Topics[killTopic] {
		n += max(0, p.CommittedOffset)
	}
	return int(n) == messages, fmt.Sprintf("%d of %d messages committed", n, messages)
}

// compareRows holds what is stored against what Kafka has.
func (r *rig) compareRows(all map[batchID]*published, f *findings) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, p := range all {
		clear(p.seen)
	}
	rows, err := r.db.Query(ctx, "SELECT probe, epoch, worker, seq, row, kafka_partition, kafka_offset, toUnixTimestamp64Milli(received), site, cityHash64("+rowTextSQL()+") FROM flows")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id batchID
		var worker uint16
		var row uint32
		var at place
		var received int64
		var site string
		var hash uint64
		if err := rows.Scan(&id.Probe, &id.Epoch, &worker, &id.Seq, &row, &at.partition, &at.offset, &received, &site, &hash); err != nil {
			return err
		}
		id.Worker = uint32(worker)
		f.stored++
		p := all[id]
		if p == nil || int(row) >= len(p.rows) {
			f.stray++
			f.note("row %d of %v is stored and not in Kafka", row, id)
			continue
		}
		if p.seen[row]++; p.seen[row] == 2 {
			f.double++
		}
		if when, ok := p.places[at]; !ok || when != received || p.site != site || p.rows[row] != hash {
			f.altered++
			f.note("row %d of %v is stored with other content", row, id)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, p := range all {
		for _, n := range p.seen {
			if n == 0 {
				f.missing++
			}
		}
	}
	return nil
}

// compareBatches looks at the table that tells what became of each message.
func (r *rig) compareBatches(all map[batchID]*published, f *findings) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := r.db.Query(ctx, `SELECT probe, epoch, worker, seq, kafka_partition, kafka_offset, status, rows, arraySum(day_rows), arraySum(minute_rows), end_of_stream
		FROM batches FINAL`)
	if err != nil {
		return err
	}
	defer rows.Close()
	first := map[batchID]int{}
	told := map[place]bool{}
	for rows.Next() {
		var id batchID
		var worker uint16
		var at place
		var status string
		var n uint32
		var ofDays, ofMinutes uint64
		var ended bool
		if err := rows.Scan(&id.Probe, &id.Epoch, &worker, &id.Seq, &at.partition, &at.offset, &status, &n, &ofDays, &ofMinutes, &ended); err != nil {
			return err
		}
		id.Worker = uint32(worker)
		f.ledger[status]++
		if f.junk[at] != (status == "quarantined") {
			f.note("message %v is %s", at, status)
		}
		if status == "quarantined" {
			continue
		}
		p := all[id]
		if p == nil {
			f.note("batches tells of %v, which is not in Kafka", id)
			continue
		}
		if _, ok := p.places[at]; !ok || told[at] {
			f.note("batches tells of %v at %v, where it is not, or twice", id, at)
		}
		told[at] = true
		switch {
		case status == "stored" || status == "expired" && p.expired:
			first[id]++
		case status != "duplicate":
			f.note("%v is %s", id, status)
		}
		if p.expired {
			continue
		}
		if int(n) != len(p.rows) || status == "stored" && (int(ofDays) != len(p.rows) || int(ofMinutes) != len(p.rows)) || ended != p.endOfFlow {
			f.note("batches tells something else of %v: %d rows, %d by days, %d by minutes, in Kafka %d", id, n, ofDays, ofMinutes, len(p.rows))
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n := f.ledger["stored"] + f.ledger["duplicate"] + f.ledger["quarantined"] + f.ledger["expired"]; n != f.messages {
		f.note("%d messages were published, batches accounts for %d", f.messages, n)
	}
	for id, p := range all {
		if first[id] != 1 {
			f.note("%v is stored %d times by batches", id, first[id])
		}
		for at := range p.places {
			if !told[at] {
				f.note("batches does not tell of %v", at)
			}
		}
	}
	return nil
}
