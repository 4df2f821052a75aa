package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// wireRows are enough for the figure to stand still.
const wireRows = 100_000

// seal puts records into messages of up to n, as a probe does; a message is
// full before that if it has to be.
func seal(records []flow.Record, n int, probe string, each func(message []byte, rows int) error) error {
	enc := flow.NewEncoder()
	var seq uint64
	flush := func() error {
		rows := enc.Len()
		seq++
		message, err := enc.Seal(&flowpb.FlowBatch{Probe: probe, Epoch: 1, Seq: seq, ClockNs: time.Now().UnixNano(), SealedNs: time.Now().UnixNano()})
		if err != nil {
			return err
		}
		return each(message, rows)
	}
	for i := range records {
		if enc.Len() >= n || !enc.Fits(&records[i]) {
			if err := flush(); err != nil {
				return err
			}
		}
		enc.Add(&records[i])
	}
	if enc.Len() > 0 {
		return flush()
	}
	return nil
}

// wire prints what the same flows take in messages and on disk.
func wire(ctx context.Context, out io.Writer, db driver.Conn) error {
	records, err := readRecords(ctx, db, wireRows)
	if err != nil {
		return err
	}
	s, err := sizeOf(ctx, db, "flows")
	if err != nil {
		return err
	}
	disk := s.data / s.rows
	fmt.Fprintf(out, "\nOctets a flow on the wire: %s flows of one probe in the order of their ends, zstd as sent.\n\n| records in a message | octets a flow | columns on disk, %.1f, to that |\n| ---: | ---: | ---: |\n", count(float64(len(records))), disk)
	for _, n := range []int{100, 1000, 8000, flow.MaxRecords} {
		var octets, most int
		if err := seal(records, n, "probe-0", func(m []byte, rows int) error {
			octets, most = octets+len(m), max(most, rows)
			return nil
		}); err != nil {
			return err
		}
		each := float64(octets) / float64(len(records))
		fmt.Fprintf(out, "| %s | %.1f | %.2f |\n", count(float64(most)), each, disk/each)
	}
	return nil
}
