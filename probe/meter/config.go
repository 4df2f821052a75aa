package meter

import "time"

// Config sets a Table's timeouts and bounds. A zero field means its default.
type Config struct {
	// ActiveTimeout cuts a long flow into segments: the first packet this
	// long after the segment's first begins a new one. Default 60 s.
	ActiveTimeout time.Duration
	// IdleTimeout ends a flow in which both sides have sent. Default 30 s.
	IdleTimeout time.Duration
	// UnansweredTimeout ends a flow in which one side only has sent. Default 5 s.
	UnansweredTimeout time.Duration
	// ResumeTime keeps the state of an open TCP connection this long after its
	// last packet. At IdleTimeout its record goes out as for any flow; should
	// the connection speak again (keep-alives come every 30 s to 2 h), it goes
	// on as the next segment of the same flow, with its initiator and history,
	// and does not look like a connection of its own. Default 5 min; negative:
	// not at all.
	ResumeTime time.Duration
	// LingerTime keeps a TCP connection after both FINs or a RST, counted from
	// its last packet, so that what trails belongs to it. Default 5 s.
	LingerTime time.Duration
	// MaxFlows bounds the flows open at a time; beyond it one is ended early
	// (flow.EndLack), unanswered ones first. Default 262144.
	MaxFlows int
	// MaxBytes bounds the memory of the open flows in the same way: a flow of
	// one packet takes 192 octets, one of more 450, TCP 730, and 2.3 kB more
	// with payload to inspect. Default 256 MiB.
	MaxBytes int
	// FloodRate is how many connections a second, unanswered, to one service or
	// address or from one source are too many when the table is nearly full:
	// further ones are added up in one record (flow.Record.AggregatedFlows).
	// Default 1000; negative: never.
	FloodRate int
	// IgnoreVLAN leaves VLAN tags out of the flow key, for taps that see the
	// two directions of a flow in different VLANs.
	IgnoreVLAN bool
}

// DefaultConfig returns the values used in production.
func DefaultConfig() Config {
	return Config{
		ActiveTimeout: 60 * time.Second, IdleTimeout: 30 * time.Second,
		UnansweredTimeout: 5 * time.Second, LingerTime: 5 * time.Second, ResumeTime: 5 * time.Minute, MaxFlows: 1 << 18,
		MaxBytes: 256 << 20, FloodRate: 1000,
	}
}

// Stats counts what a Table did since it was made.
type Stats struct {
	FlowsStarted, FlowsEnded uint64 // connections
	Records                  uint64 // handed to emit
	Evicted                  uint64 // flows ended early because the table was full
	ClockSteps               uint64 // times the packets' clock went back for good

	// Emergencies: times the table was nearly full, and was so no more.
	EmergenciesEntered, EmergenciesLeft uint64
	// Connections that were added up, their packets, and the records made of them.
	Aggregated, AggregatedPackets, AggregateRecords uint64
}
