package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
)

// singles is the schema of one message per flow: a field for each column, and
// the column of the table that the engine reads into.
type singles struct{ proto, columns, selects string }

// newSingles derives the schema from the columns. Times and addresses are read
// as the number and the octets they are, which costs the engine least.
func newSingles() singles {
	var p, c, s []string
	for i, name := range flow.ColumnNames() {
		sql := strings.TrimSuffix(strings.TrimPrefix(flow.ColumnType(i), "LowCardinality("), ")")
		if strings.HasPrefix(flow.ColumnType(i), "Array(") {
			sql = flow.ColumnType(i)
		}
		read, put := flow.ColumnType(i), name
		var kind string
		switch {
		case strings.HasPrefix(sql, "DateTime64"):
			kind, read, put = "int64", "Int64", "fromUnixTimestamp64Nano("+name+", 'UTC') AS "+name
		case sql == "IPv6":
			kind, read, put = "bytes", "FixedString(16)", "CAST("+name+" AS IPv6) AS "+name
		case sql == "UInt64":
			kind = "uint64"
		case strings.HasPrefix(sql, "UInt"):
			kind = "uint32"
		case sql == "Bool":
			kind = "bool"
		case sql == "Float32":
			kind = "float"
		case sql == "Array(String)":
			kind = "repeated string"
		case sql == "Array(Int32)":
			kind = "repeated sint32"
		case strings.HasPrefix(sql, "Array("):
			kind = "repeated uint32"
		default:
			kind = "string"
		}
		p = append(p, fmt.Sprintf("  %s %s = %d;", kind, name, i+1))
		c, s = append(c, "`"+name+"` "+read), append(s, put)
	}
	return singles{"syntax = \"proto3\";\nmessage Flow {\n" + strings.Join(p, "\n") + "\n}\n", strings.Join(c, ", "), strings.Join(s, ", ")}
}

// appendSingle appends a record as a message of its own; zero values are absent.
func appendSingle(b []byte, r *flow.Record, fields []int) []byte {
	v := reflect.ValueOf(r).Elem()
	for i, at := range fields {
		number := protowire.Number(i + 1)
		if at < 0 {
			hash := flow.CommunityHash(r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol)
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), hash)
			continue
		}
		f := v.Field(at)
		if a, ok := f.Interface().(flow.Addr); ok { // the engine cannot do without
			b = protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), a[:])
			continue
		}
		if f.IsZero() {
			continue
		}
		text := func(s string) { b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s) }
		packed := func(n int, value func(int) uint64) {
			if n == 0 {
				return
			}
			var p []byte
			for k := range n {
				p = protowire.AppendVarint(p, value(k))
			}
			b = protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), p)
		}
		switch value := f.Interface().(type) {
		case []string:
			for _, s := range value {
				text(s)
			}
		case []uint16:
			packed(len(value), func(k int) uint64 { return uint64(value[k]) })
		case []uint32:
			packed(len(value), func(k int) uint64 { return uint64(value[k]) })
		case []int32:
			packed(len(value), func(k int) uint64 { return protowire.EncodeZigZag(int64(value[k])) })
		case float32:
			b = protowire.AppendFixed32(protowire.AppendTag(b, number, protowire.Fixed32Type), math.Float32bits(value))
		case string:
			text(value)
		case flow.Tunnel, flow.EndReason, flow.ConnState, flow.AppSource:
			text(value.(fmt.Stringer).String())
		case int64:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(value))
		case bool:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), 1)
		default:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), f.Uint())
		}
	}
	return b
}

// engine is ClickHouse's own way: a table of engine Kafka that reads one protobuf
// message per flow, and a view that moves what it reads into a table like flows.
func engine(ctx context.Context, db driver.Conn, ch *local.ClickHouse, broker string, o options, records []flow.Record) (w way, err error) {
	fields, err := fieldsOf()
	if err != nil {
		return w, err
	}
	schema := newSingles()
	// The embedded server takes a path; others look in their format_schema_path.
	file, err := filepath.Abs(filepath.Join(o.dir, "single.proto"))
	if err != nil {
		return w, err
	}
	if err := os.WriteFile(file, []byte(schema.proto), 0o600); err != nil {
		return w, err
	}
	messages := make([][]byte, len(records))
	for i := range records {
		messages[i] = appendSingle(nil, &records[i], fields)
	}
	cfg := kafka.Config{Brokers: []string{broker}}
	if err := produce(ctx, cfg, "single", messages, 1000); err != nil {
		return w, err
	}
	if err := like(ctx, db, "engined"); err != nil {
		return w, err
	}
	defer drop(ctx, db, "engined")
	defer drop(ctx, db, "engine_in")
	defer drop(ctx, db, "engine_view")
	if err := db.Exec(ctx, "CREATE TABLE engine_in ("+schema.columns+`) ENGINE = Kafka SETTINGS kafka_broker_list = '`+broker+`', kafka_topic_list = 'single',
		kafka_group_name = 'engine', kafka_format = 'ProtobufSingle', kafka_schema = '`+file+`:Flow', kafka_max_block_size = 100000, kafka_poll_max_batch_size = 100000,
		kafka_flush_interval_ms = 5000, kafka_num_consumers = 1`); err != nil {
		return w, fmt.Errorf("make a table of engine Kafka: %w", err)
	}
	server, began := processTime(ch.PID()), time.Now()
	if err := db.Exec(ctx, `CREATE MATERIALIZED VIEW engine_view TO engined AS SELECT 'bench' AS probe, toInt32(_partition) AS kafka_partition, toInt64(_offset) AS kafka_offset,
		toDateTime64(_timestamp_ms, 3, 'UTC') AS received, `+schema.selects+" FROM engine_in"); err != nil {
		return w, fmt.Errorf("make the view of the engine: %w", err)
	}
	if err := await(ctx, db, "SELECT count() FROM engined", len(records), nil); err != nil {
		var told string
		if e := db.QueryRow(ctx, "SELECT toString(arrayStringConcat(arraySlice(exceptions.text, -1, 1), ' ')) FROM system.kafka_consumers WHERE table = 'engine_in' LIMIT 1").Scan(&told); e == nil && told != "" {
			err = fmt.Errorf("%w: %s", err, told)
		}
		return w, err
	}
	w = way{name: "ClickHouse's engine Kafka, one protobuf message a flow", rows: len(records), wall: time.Since(began), server: processTime(ch.PID()) - server}
	return w, expect(ctx, db, "engined", len(records))
}
