package importer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/datagram"
	"github.com/tapwatch/tapwatch/analyzer/importer/netflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/sflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// exports turns the datagrams of all kinds of exporters into records of a sink.
type exports struct {
	tally   source.Tally
	file    string
	number  int64
	lost    func(reason string, at int64)
	netflow *netflow.Decoder
	sflow   *sflow.Decoder
	table   *biflow.Table
}

func newExports(sink Sink) *exports {
	x := &exports{lost: teller(sink), netflow: netflow.New(), sflow: sflow.New()}
	x.netflow.Skip, x.sflow.Skip = x.skip, x.skip
	x.sflow.Joined = func() { x.tally.Read++; x.tally.Joined++ }
	x.table = biflow.NewTable(func(r *flow.Record) error {
		x.tally.Converted++
		x.tally.Records++
		return sink.Add(r)
	})
	x.table.Extra = func() { x.tally.Joined++ }
	return x
}

func (x *exports) skip(reason string, n uint64, at int64, cause error) {
	x.tally.Read += n
	x.tally.Skip(reason, x.file, x.number, n, cause)
	for range n {
		x.lost(reason, at)
	}
}

// half takes what a decoder found.
func (x *exports) half(h biflow.Half) error {
	x.tally.Read++
	return x.table.Add(h)
}

func (x *exports) datagram(d datagram.Datagram) error {
	x.number = d.Number
	if len(d.Payload) >= 4 && d.Payload[0] == 0 && d.Payload[1] == 0 {
		return x.sflow.Datagram(d.From, d.Time, d.Payload, x.half)
	}
	return x.netflow.Datagram(d.From, d.Time, d.Payload, x.half)
}

// learn reads templates and sampling, for the data that stand before them.
func (x *exports) learn(d datagram.Datagram) error {
	if len(d.Payload) < 2 || d.Payload[0] == 0 && d.Payload[1] == 0 {
		return nil
	}
	return x.netflow.Datagram(d.From, d.Time, d.Payload, nil)
}

func (x *exports) flush() error {
	if err := x.sflow.Flush(x.half); err != nil {
		return err
	}
	return x.table.Flush()
}

// Packets converts export datagrams of NetFlow v5, v9, IPFIX and sFlow in files:
// pcap, pcapng, or messages one behind the other. Templates may stand behind the data
// that need them. The error is that of the sink, of ctx, or of a file that cannot
// be opened or is of no such format; what is damaged is counted.
func Packets(ctx context.Context, files []string, sink Sink) (source.Tally, error) {
	var all source.Tally
	for _, path := range files {
		if err := stream(sink, "packets", path); err != nil {
			return all, err
		}
		x := newExports(sink)
		x.file = path
		err := packetFile(ctx, path, x)
		all.Add(x.tally)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func packetFile(ctx context.Context, path string, x *exports) error {
	err := read(path, func(r io.Reader) error { return datagram.Read(r, x.learn, func(int64) {}) })
	if errors.Is(err, datagram.ErrFormat) {
		return fmt.Errorf("import %s: %w", path, err)
	}
	var failed error // of the sink or ctx; all else is the file's
	err = read(path, func(r io.Reader) error {
		return datagram.Read(r, func(d datagram.Datagram) error {
			if d.Number%256 == 0 && ctx.Err() != nil {
				failed = ctx.Err()
			} else {
				failed = x.datagram(d)
			}
			return failed
		}, func(n int64) {
			x.number = n
			x.skip(source.SkipUnknown, 1, 0, errors.New("no whole UDP datagram"))
		})
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		x.skip(source.SkipDamaged, 1, 0, err)
	}
	return x.flush()
}
