package spool

import "encoding/binary"

// Reason says why a record will never reach Kafka.
type Reason uint8

// The reasons of a DropRange. The numbers are on disk: only add.
const (
	ReasonSpoolFull Reason = 1 // MaxBytes or the disk was reached; the oldest went
	ReasonCorrupt   Reason = 2 // damaged on disk
	ReasonRejected  Reason = 3 // Kafka refuses the message for what it is; moved to rejected/
	ReasonIOError   Reason = 4 // the disk failed while writing
)

// String is the reason as it stands in metrics and in the ledger.
func (r Reason) String() string {
	switch r {
	case ReasonSpoolFull:
		return "spool_full"
	case ReasonCorrupt:
		return "corrupt"
	case ReasonRejected:
		return "rejected"
	case ReasonIOError:
		return "io_error"
	}
	return "unknown"
}

// DropRange is a run of batches that were accepted and will not arrive. Records == To-From+1 says that every batch of
// the run is meant; fewer, that the run was joined from several to keep the list bounded (or that the sequence of the
// producer itself has holes). Epoch 0 with From = To = 0 stands for damaged records whose identity is unknown; their totals are 0.
//
// The same DropRange may be declared twice after a crash, then with the same content: a receiver keeps one per
// (Epoch, Worker, From, To, Reason).
type DropRange struct {
	Epoch      uint64 `json:"epoch"`
	Worker     uint32 `json:"worker"`
	From       uint64 `json:"from"` // first Seq
	To         uint64 `json:"to"`   // last Seq, inclusive
	Records    uint64 `json:"records"`
	Rows       uint64 `json:"rows"`
	Packets    uint64 `json:"packets"`
	FrameBytes uint64 `json:"frame_bytes"`
	Reason     Reason `json:"reason"`
}

const rangeBytes = 61

// maxRanges bounds the undeclared list, and with it the state file: 1000 ranges are below 200 kB of JSON.
const maxRanges = 1000

func (d *DropRange) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, d.Epoch)
	b = le.AppendUint32(b, d.Worker)
	for _, v := range [...]uint64{d.From, d.To, d.Records, d.Rows, d.Packets, d.FrameBytes} {
		b = le.AppendUint64(b, v)
	}
	return append(b, byte(d.Reason))
}

// decodeRanges reads what append wrote; an incomplete range at the end is left out.
func decodeRanges(b []byte) []DropRange {
	var out []DropRange
	le := binary.LittleEndian
	for ; len(b) >= rangeBytes; b = b[rangeBytes:] {
		out = append(out, DropRange{
			Epoch: le.Uint64(b), Worker: le.Uint32(b[8:]), From: le.Uint64(b[12:]), To: le.Uint64(b[20:]),
			Records: le.Uint64(b[28:]), Rows: le.Uint64(b[36:]), Packets: le.Uint64(b[44:]), FrameBytes: le.Uint64(b[52:]),
			Reason: Reason(b[60]),
		})
	}
	return out
}

func rangeOf(m Meta, reason Reason) DropRange {
	return DropRange{Epoch: m.Epoch, Worker: m.Worker, From: m.Seq, To: m.Seq, Records: 1, Rows: uint64(m.Rows),
		Packets: m.Packets, FrameBytes: m.FrameBytes, Reason: reason}
}

// sameKind says whether two ranges may stand in one.
func (d *DropRange) sameKind(o *DropRange) bool {
	return d.Epoch == o.Epoch && d.Worker == o.Worker && d.Reason == o.Reason
}

// join adds o to d; the run then spans both.
func (d *DropRange) join(o *DropRange) {
	d.From, d.To = min(d.From, o.From), max(d.To, o.To)
	d.Records += o.Records
	d.Rows += o.Rows
	d.Packets += o.Packets
	d.FrameBytes += o.FrameBytes
}

// ledger is the list of drops not yet declared. Ranges that were handed out, or came from disk, are frozen: they do not grow any
// more, so that declaring one twice is recognisable.
type ledger struct {
	ranges []DropRange
	frozen int // ranges[:frozen]
}

func (l *ledger) add(r DropRange) {
	for i := len(l.ranges) - 1; i >= l.frozen; i-- {
		e := &l.ranges[i]
		unknown := r.Epoch == 0 && r.From == 0 && r.To == 0
		if e.sameKind(&r) && (r.From == e.To+1 || e.From == r.To+1 || unknown && e.To == 0) {
			e.join(&r)
			return
		}
	}
	l.ranges = append(l.ranges, r)
	if len(l.ranges) > maxRanges {
		l.shrink()
	}
}

// giveBack takes a range again whose declaration was dropped itself; it stays as it was.
func (l *ledger) giveBack(r DropRange) {
	for _, o := range l.ranges {
		if o == r {
			return
		}
	}
	l.ranges = append(l.ranges, DropRange{})
	copy(l.ranges[l.frozen+1:], l.ranges[l.frozen:])
	l.ranges[l.frozen] = r
	l.frozen++
	if len(l.ranges) > maxRanges {
		l.shrink()
	}
}

// shrink joins two ranges, preferably of one producer and not frozen; totals stay exact, the run becomes wider.
func (l *ledger) shrink() {
	n := len(l.ranges)
	for _, lo := range [...]int{l.frozen, 0} {
		last := map[[3]uint64]int{}
		for i := lo; i < n; i++ {
			e := &l.ranges[i]
			k := [3]uint64{e.Epoch, uint64(e.Worker), uint64(e.Reason)}
			if j, ok := last[k]; ok {
				l.ranges[j].join(e)
				l.remove(i)
				return
			}
			last[k] = i
		}
	}
	// More than maxRanges producers: the identity of the oldest two goes, their totals stay.
	a, b := &l.ranges[0], l.ranges[1]
	a.join(&b)
	a.Epoch, a.Worker, a.From, a.To = 0, 0, 0, 0
	l.remove(1)
}

func (l *ledger) remove(i int) {
	l.ranges = append(l.ranges[:i], l.ranges[i+1:]...)
	if i < l.frozen {
		l.frozen--
	}
}

func (l *ledger) handOut() []DropRange {
	l.frozen = len(l.ranges)
	return append([]DropRange(nil), l.ranges...)
}

// settle takes out what was declared, one occurrence each.
func (l *ledger) settle(declared []DropRange) {
	for _, d := range declared {
		for i := range l.ranges {
			if l.ranges[i] == d {
				l.remove(i)
				break
			}
		}
	}
}
