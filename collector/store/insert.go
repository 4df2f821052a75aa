package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/go-faster/city"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// insertSettings make one insert one block, and by that one part: a server that
// cut it in two could keep one half. The deduplication window and the fsync are
// settings of the table.
func insertSettings(token string) clickhouse.Settings {
	return clickhouse.Settings{
		"async_insert":                    0,
		"insert_deduplicate":              1,
		"insert_deduplication_token":      token,
		"max_insert_block_size":           100_000_000,
		"min_insert_block_size_rows":      100_000_000,
		"min_insert_block_size_bytes":     16 << 30,
		"max_insert_threads":              1,
		"max_partitions_per_insert_block": 1,
	}
}

// identityColumns come before those of flow.ColumnNames.
var identityColumns = []string{"probe", "site", "epoch", "worker", "seq", "row", "kafka_partition", "kafka_offset", "received"}

// insertFlows is the statement for those columns, and then those of an Enricher.
func insertFlows(e Enricher) string {
	names := append(slices.Clone(identityColumns), flow.ColumnNames()...)
	if e != nil {
		names = append(names, e.Columns()...)
	}
	return "INSERT INTO flows (" + strings.Join(names, ", ") + ")"
}

// dayBlock is the rows of one insert as columns, and what is to be found in the
// table afterwards. All attempts read the same columns.
type dayBlock struct {
	day      int64
	messages []*message // that have rows in it
	parts    []presence // of each of them: what is to be there
	columns  []any
	block    *flow.Block
	rows     int
}

// buildDay gathers the rows of a day that have to be written. releaseDay must follow.
func (s *Store) buildDay(b *consume.Block, day int64, messages []message) *dayBlock {
	d := &dayBlock{day: day, block: s.blocks.Get().(*flow.Block)}
	d.block.Reset()
	var (
		probe, site []string
		epoch, seq  []uint64
		worker      []uint16
		row         []uint32
		partition   []int32
		offset      []int64
		received    []time.Time
	)
	for i := range messages {
		m := &messages[i]
		if m.status != stored {
			continue
		}
		for _, part := range m.days {
			if part.day != day || part.here {
				continue
			}
			d.messages, d.parts = append(d.messages, m), append(d.parts, presence{rows: uint64(len(part.rows))})
			d.block.Add(m.Batch, part.rows)
			n, h := len(part.rows), m.Batch.Header()
			probe, site = fill(probe, h.Probe, n), fill(site, h.Site, n)
			epoch, seq, worker = fill(epoch, h.Epoch, n), fill(seq, h.Seq, n), fill(worker, uint16(h.Worker), n)
			partition, offset = fill(partition, int32(b.Partition), n), fill(offset, m.Offset, n)
			received = fill(received, m.Time.UTC(), n)
			for _, r := range part.rows {
				row = append(row, uint32(r))
			}
		}
	}
	d.rows = d.block.Rows()
	d.columns = append(d.columns, probe, site, epoch, worker, seq, row, partition, offset, received)
	for i := range flow.ColumnNames() {
		d.columns = append(d.columns, plain(d.block.Values(i), flow.ColumnType(i)))
	}
	first := 0
	sums := contentSums(d.block, seq, row)
	for i := range d.parts {
		for n := int(d.parts[i].rows); n > 0; n, first = n-1, first+1 {
			d.parts[i].sum += sums[first]
		}
	}
	if s.enrich != nil { // behind the sum: what is known about a flow may differ the next time
		d.columns = append(d.columns, s.enrich.Values(site, d.block)...)
	}
	return d
}

func (s *Store) releaseDay(d *dayBlock) {
	d.block.Reset()
	s.blocks.Put(d.block)
}

func fill[T any](list []T, v T, n int) []T {
	list = slices.Grow(list, n)
	for range n {
		list = append(list, v)
	}
	return list
}

// plain turns the values of a column into what clickhouse-go takes for its type.
func plain(values any, sql string) any {
	if v, ok := values.([]int64); ok && strings.HasPrefix(sql, "DateTime64") {
		return times(v)
	}
	return values
}

// times are what clickhouse-go takes for a DateTime64 without losing digits: it
// reads plain integers as milliseconds.
func times(ns []int64) []time.Time {
	list := make([]time.Time, len(ns))
	for i, t := range ns {
		list[i] = time.Unix(0, t)
	}
	return list
}

// contentSQL is the sum of contentSums over rows, modulo 2^64: it differs when a
// value has changed, or has moved to another row's key. Only what the wire brings
// is in it, so that what is known about a flow besides may change.
const contentSQL = `sum(bitXor(community_hash, cityHash64(tls_sni)) * 3 + toUInt64(toUnixTimestamp64Nano(start)) * 5 + toUInt64(toUnixTimestamp64Nano(end)) * 7
	+ src_packets * 11 + dst_packets * 13 + src_bytes * 17 + dst_bytes * 19 + src_frame_bytes * 23 + dst_frame_bytes * 29
	+ src_payload_bytes * 31 + dst_payload_bytes * 37 + flow_id * 41 + seq * 43 + row * 47)`

// contentSums is a number for each row.
func contentSums(b *flow.Block, seq []uint64, row []uint32) []uint64 {
	names := flow.ColumnNames()
	value := func(name string) any { return b.Values(slices.Index(names, name)) }
	u64 := func(name string) []uint64 { return value(name).([]uint64) }
	start, end := value("start").([]int64), value("end").([]int64)
	hash, sni := u64("community_hash"), value("tls_sni").([]string)
	sums := make([]uint64, len(hash))
	for i := range hash {
		h := hash[i] ^ city.CH64([]byte(sni[i]))
		sums[i] = h*3 + uint64(start[i])*5 + uint64(end[i])*7 + seq[i]*43 + uint64(row[i])*47
	}
	for _, c := range []struct {
		name   string
		factor uint64
	}{{"src_packets", 11}, {"dst_packets", 13}, {"src_bytes", 17}, {"dst_bytes", 19}, {"src_frame_bytes", 23}, {"dst_frame_bytes", 29},
		{"src_payload_bytes", 31}, {"dst_payload_bytes", 37}, {"flow_id", 41}} {
		for i, v := range u64(c.name) {
			sums[i] += v * c.factor
		}
	}
	return sums
}

// outcome of one attempt that ClickHouse has answered, or not.
type outcome struct {
	err     error
	useless bool // to try again: the rows cannot be turned into what the table has
	sent    bool // the rows, or some of them, were under way when it failed
	dropped bool // the server knew the token and dropped the rows
}

// insert tries once.
func (s *Store) insert(ctx context.Context, token, queryID string, d *dayBlock) (o outcome) {
	began := s.now()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithQueryID(queryID), clickhouse.WithSettings(insertSettings(token)),
		clickhouse.WithProfileEvents(func(events []clickhouse.ProfileEvent) {
			for _, e := range events {
				if e.Name == "DuplicatedInsertedBlocks" && e.Value > 0 {
					o.dropped = true
				}
			}
		}))
	batch, err := s.conn.PrepareBatch(ctx, s.insertFlows)
	if err != nil {
		o.err = fmt.Errorf("insert into flows: %w", err)
		return o
	}
	if o.err = appendColumns(batch, d.columns); o.err != nil {
		o.err, o.useless = errors.Join(o.err, batch.Abort()), true
		return o
	}
	o.sent = true
	if err := batch.Send(); err != nil {
		o.err = fmt.Errorf("insert into flows: %w", err)
		return o
	}
	s.metrics.insertSeconds.Observe(s.now().Sub(began).Seconds())
	return o
}

func appendColumns(batch driver.Batch, columns []any) error {
	for i, values := range columns {
		if err := batch.Column(i).Append(values); err != nil {
			return fmt.Errorf("insert into flows: column %d: %w", i, err)
		}
	}
	return nil
}
