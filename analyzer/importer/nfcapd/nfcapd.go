// Package nfcapd reads the files that nfcapd, nfpcapd, sfcapd and nfdump -w
// write (https://github.com/phaag/nfdump): layout 1 of nfdump 1.6 and layout 2
// of 1.7, as they are or with their blocks packed by LZO, LZ4, bzip2 or zstd.
// In come the octets of a file, out go halves of flows for package biflow. The
// collector has multiplied the counters of sampled flows already. A Decoder
// belongs to one goroutine, and halves hold nothing of its buffers.
package nfcapd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
)

// Origin marks the records of this package.
const Origin = "nfdump"

// Types of blocks (nffile.h, nffileV2.h).
const (
	blockRecords1 = 2 // of layout 1
	blockRecords2 = 3 // of layout 2
)

// Types of records (nffile.h, id.h). Both layouts number them alike.
const (
	recordCommon0       = 1 // a flow of the first releases of 1.6
	recordMap           = 2
	recordExporter      = 7
	recordExporterStats = 8
	recordSampler0      = 9
	recordCommon        = 10 // a flow of 1.6
	recordFlow          = 11 // a flow of 1.7
	recordNbar          = 12
	recordVRFNames      = 14
	recordSampler       = 15
	recordIdent         = 0x8001 // of the appendix, as is
	recordStat          = 0x8002
)

// recordHeader is the type and the size of a record, octets; the size counts them too.
const recordHeader = 4

// Emit takes a half; its error ends the reading.
type Emit func(biflow.Half) error

// Decoder reads one file, twice if who exported is to be known of every flow:
// the blocks of a file may stand in another order than they were made in.
type Decoder struct {
	// Skip is told of what is left out: how much, when (ns since the epoch, 0 unknown), and why.
	Skip func(reason string, n uint64, at int64, cause error)

	number    int64
	exporters map[uint16]exporter
	samplers  map[sampler]uint32  // one packet in so many
	maps      map[uint16][]uint16 // of layout 1: the extensions of a record, in their order
	unpack    unpacker
}

// New returns a Decoder that knows no exporters.
func New() *Decoder {
	return &Decoder{Skip: func(string, uint64, int64, error) {}, exporters: make(map[uint16]exporter),
		samplers: make(map[sampler]uint32), maps: make(map[uint16][]uint16)}
}

// Number is that of the record that is being read, from 1.
func (d *Decoder) Number() int64 { return d.number }

// Read reads a file from its beginning. It fails with ErrFormat if this is no
// file of nfcapd, with a hint if it is one that cannot be read, and with the
// error of emit; all else that is wrong is told to Skip. With a nil emit it
// learns exporters and their sampling only, and tells nothing.
func (d *Decoder) Read(r io.Reader, emit Emit) error {
	skip := d.Skip
	if emit == nil {
		skip = func(string, uint64, int64, error) {}
	}
	d.number = 0
	blocks, err := open(r)
	if err != nil {
		return err
	}
	for {
		b, err := blocks.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			skip(source.SkipDamaged, 1, 0, err)
			return nil
		}
		if b.kind != blockRecords1 && b.kind != blockRecords2 {
			skip(source.SkipUnknown, 1, 0, fmt.Errorf("block %d of type %d", blocks.number, b.kind))
			continue
		}
		records, err := d.unpack.block(blocks.packing, b.octets)
		if err != nil {
			skip(source.SkipDamaged, 1, 0, fmt.Errorf("block %d of %d records: %w", blocks.number, b.records, err))
			continue
		}
		if err := d.records(records, skip, emit); err != nil {
			return err
		}
	}
}

// records reads what stands in a block, one record behind the other.
func (d *Decoder) records(b []byte, skip func(string, uint64, int64, error), emit Emit) error {
	for len(b) > 0 {
		d.number++
		size := 0
		if len(b) >= recordHeader {
			size = int(binary.LittleEndian.Uint16(b[2:]))
		}
		if size < recordHeader || size > len(b) {
			skip(source.SkipMalformed, 1, 0, fmt.Errorf("a record of %d octets where its block has %d left", size, len(b)))
			return nil
		}
		if err := d.record(b[:size], skip, emit); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

func (d *Decoder) record(b []byte, skip func(string, uint64, int64, error), emit Emit) error {
	switch kind := binary.LittleEndian.Uint16(b); kind {
	case recordCommon0, recordCommon, recordFlow:
		if emit == nil {
			return nil
		}
		f := flowRecord{}
		var err error
		if kind == recordFlow {
			err = f.elements(b)
		} else {
			err = f.common(b, d.maps)
		}
		if err != nil {
			skip(source.SkipMalformed, 1, 0, err)
			return nil
		}
		return d.hand(&f, skip, emit)
	case recordMap:
		if err := d.extensionMap(b); err != nil {
			skip(source.SkipMalformed, 1, 0, err)
		}
	case recordIdent, recordStat: // sums of the file itself
	case recordExporter, recordSampler0, recordSampler:
		if err := d.learn(kind, b); err != nil {
			skip(source.SkipMalformed, 1, 0, err)
			return nil
		}
		skip(source.SkipOptions, 1, 0, nil)
	case recordExporterStats:
		skip(source.SkipOptions, 1, 0, nil)
	default:
		if kind >= recordNbar && kind <= recordVRFNames { // names of applications, interfaces and VRFs
			skip(source.SkipOptions, 1, 0, nil)
			return nil
		}
		skip(source.SkipUnknown, 1, 0, fmt.Errorf("record of type %d", kind))
	}
	return nil
}

// hand finishes a record, checks it, and hands it on.
func (d *Decoder) hand(f *flowRecord, skip func(string, uint64, int64, error), emit Emit) error {
	h := d.half(f)
	if h.End < h.Start && h.Start-h.End < 1e9 { // rounded differently
		h.End = h.Start
	}
	switch {
	case !source.Storable(h.Start, h.End) || h.Start == 0:
		skip(source.SkipTime, 1, 0, fmt.Errorf("flow from %d to %d ns", h.Start, h.End))
	case !f.addressed:
		skip(source.SkipAddress, 1, h.Start, errors.New("no addresses: a record of layer 2, or of another kind"))
	case h.Packets|h.Bytes|h.RevPackets|h.RevBytes == 0:
		skip(source.SkipUnknown, 1, h.Start, errors.New("a record without packets or octets: an event of a firewall"))
	default:
		return emit(h)
	}
	return nil
}
