package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// batch is one message of the probe, as written and as read.
type batch struct {
	message []byte
	*flow.Batch
}

// readBatches takes the messages that Kafka would get from the probe itself.
// Those without a record are left out.
func readBatches(ctx context.Context, o options, dir string, files []string) ([]batch, error) {
	to := filepath.Join(dir, "batches")
	args := []string{"flows", "--quiet", "-o", to, "--format", "batch"}
	for _, f := range files {
		args = append(args, "-r", f)
	}
	if text, err := exec.CommandContext(ctx, o.probe, args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", o.probe, err, text)
	}
	f, err := os.Open(to)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in, reader := bufio.NewReader(f), flow.NewReader()
	var list []batch
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read batches of the probe: %w", err)
		}
		n := binary.BigEndian.Uint32(size[:])
		if n > 2*flow.MaxMessageBytes {
			return nil, fmt.Errorf("read batches of the probe: a message of %d octets", n)
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(in, message); err != nil {
			return nil, fmt.Errorf("read batches of the probe: %w", err)
		}
		b, err := reader.Read(message)
		if err != nil {
			return nil, fmt.Errorf("read batches of the probe: %w", err)
		}
		if b.Len() > 0 {
			list = append(list, batch{message, b})
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the capture holds no flows")
	}
	return list, nil
}

// compressRounds is how often each group is compressed for the time alone: one
// takes a few milliseconds.
const compressRounds = 50

// wire compares the columnar batch with one protobuf message per flow: the same
// records, in the same groups, compressed in the same way.
func wire(batches []batch) ([]line, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	var flows, columns, columnsZstd, singles, singlesZstd, alone int
	var columnsTime, singlesTime time.Duration
	var group, single, out []byte
	for _, b := range batches {
		raw, err := proto.Marshal(b.Header())
		if err != nil {
			return nil, err
		}
		group = group[:0]
		for i := range b.Len() {
			var r flow.Record
			b.Record(i, &r)
			single = appendFlow(single[:0], &r)
			group = protowire.AppendBytes(group, single)
			out = z.EncodeAll(single, out[:0])
			alone += len(out)
		}
		flows += b.Len()
		columns, singles = columns+len(raw), singles+len(group)
		columnsZstd += len(z.EncodeAll(raw, out[:0]))
		singlesZstd += len(z.EncodeAll(group, out[:0]))
		for range compressRounds {
			begin := time.Now()
			out = z.EncodeAll(raw, out[:0])
			columnsTime += time.Since(begin)
			begin = time.Now()
			out = z.EncodeAll(group, out[:0])
			singlesTime += time.Since(begin)
		}
	}
	of := fmt.Sprintf("%s flows in %d batches", count(float64(flows)), len(batches))
	each := func(n int) string { return fmt.Sprintf("%.1f", float64(n)/float64(flows)) }
	ratio := func(a, b float64) string { return fmt.Sprintf("%.2f of the batch", a/b) }
	return []line{
		{"octets per flow on the wire, columnar batch", each(columns), of + ", header and ledger included"},
		{"the same after zstd, as sent", each(columnsZstd), "zstd level 1, a batch at once"},
		{"octets per flow, one message per flow", each(singles), "the same fields, without identity and ledger; " + ratio(float64(singles), float64(columns))},
		{"the same after zstd", each(singlesZstd), "as many messages at once as are in a batch; " + ratio(float64(singlesZstd), float64(columnsZstd))},
		{"the same after zstd, each alone", each(alone), ratio(float64(alone), float64(columnsZstd))},
		{"time to compress, one message per flow to batch", fmt.Sprintf("%.2f", singlesTime.Seconds()/max(columnsTime.Seconds(), 1e-9)), fmt.Sprintf("ratio of the totals of %d rounds", compressRounds)},
	}, nil
}

// appendFlow appends r as a protobuf message of its own: field n is the n-th of
// flow.Record; zero values are absent, lists packed, IPv4 addresses 4 octets,
// the end as a duration. This is what a schema of one message per flow would be.
func appendFlow(b []byte, r *flow.Record) []byte {
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		f, number := v.Field(i), protowire.Number(i+1)
		if f.IsZero() {
			continue
		}
		if v.Type().Field(i).Name == "End" {
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(r.End-r.Start))
			continue
		}
		switch value := f.Interface().(type) {
		case flow.Addr:
			b = protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value.Netip().AsSlice())
		case []string:
			for _, s := range value {
				b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
			}
		case []uint16:
			b = appendPacked(b, number, value, func(n uint16) uint64 { return uint64(n) })
		case []uint32:
			b = appendPacked(b, number, value, func(n uint32) uint64 { return uint64(n) })
		case []int32:
			b = appendPacked(b, number, value, func(n int32) uint64 { return protowire.EncodeZigZag(int64(n)) })
		case float32:
			b = protowire.AppendFixed32(protowire.AppendTag(b, number, protowire.Fixed32Type), math.Float32bits(value))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), value)
		case int64:
			b = protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), uint64(value))
		case bool:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), 1)
		default:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), f.Uint())
		}
	}
	return b
}

// appendPacked appends a list of numbers; nothing where it is empty.
func appendPacked[T any](b []byte, number protowire.Number, list []T, wire func(T) uint64) []byte {
	if len(list) == 0 {
		return b
	}
	var packed []byte
	for _, n := range list {
		packed = protowire.AppendVarint(packed, wire(n))
	}
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), packed)
}
