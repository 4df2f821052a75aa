package flow

// Tunnel is the kind of the innermost tunnel a flow travelled in.
type Tunnel uint8

const (
	TunnelNone Tunnel = iota
	TunnelIPIP
	Tunnel6in4
	TunnelGRE
	TunnelVXLAN
	TunnelGENEVE
	TunnelGTPU
	TunnelTeredo
	TunnelMPLS
	TunnelPPPoE
	TunnelL2TP
	TunnelERSPAN
)

var tunnelNames = []string{"", "ipip", "6in4", "gre", "vxlan", "geneve", "gtpu", "teredo", "mpls", "pppoe", "l2tp", "erspan"}

func (t Tunnel) String() string { return nameOf(tunnelNames, uint8(t)) }

// EndReason says why a record ended, in the numbers of IPFIX flowEndReason
// (IE 136): 1 to 5, and our own from 64.
type EndReason uint8

const (
	EndNone     EndReason = 0
	EndIdle     EndReason = 1 // nothing seen for the idle (or unanswered) timeout
	EndActive   EndReason = 2 // cut by the active timeout; the flow goes on in the next segment
	EndDetected EndReason = 3 // both FINs, or RST
	EndForced   EndReason = 4 // the capture ended or the probe stopped
	EndLack     EndReason = 5 // the flow table was full
	EndListFull EndReason = 64
)

var endReasonNames = map[EndReason]string{
	EndNone: "", EndIdle: "idle", EndActive: "active", EndDetected: "end",
	EndForced: "forced", EndLack: "lack_of_resources", EndListFull: "list_full",
}

func (e EndReason) String() string { return endReasonNames[e] }

// ConnState is Zeek's conn_state. It is given for TCP, and for UDP and ICMP
// as Zeek does: S0 one-sided, SF both sides.
type ConnState uint8

const (
	ConnNone   ConnState = iota
	ConnS0               // SYN (or UDP/ICMP) without an answer
	ConnS1               // established, not ended
	ConnSF               // established and ended in order; UDP, ICMP: answered
	ConnREJ              // SYN answered by RST
	ConnS2               // established, initiator closed, responder not
	ConnS3               // established, responder closed, initiator not
	ConnRSTO             // established, initiator aborted
	ConnRSTR             // responder aborted
	ConnRSTOS0           // SYN then RST from the initiator, no SYN-ACK seen
	ConnRSTRH            // SYN-ACK then RST from the responder, no SYN seen
	ConnSH               // SYN then FIN from the initiator, no SYN-ACK seen
	ConnSHR              // SYN-ACK then FIN from the responder, no SYN seen
	ConnOTH              // no SYN seen
)

var connStateNames = []string{"", "S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH"}

func (c ConnState) String() string { return nameOf(connStateNames, uint8(c)) }

// AppSource says how the application of a flow was known.
type AppSource uint8

const (
	AppNone  AppSource = iota
	AppDPI             // recognised in the payload
	AppPort            // the port alone says so
	AppGuess           // a heuristic over the payload
)

var appSourceNames = []string{"", "dpi", "port", "guess"}

func (a AppSource) String() string { return nameOf(appSourceNames, uint8(a)) }

// Cut marks what did not fit into a record and was shortened.
type Cut = uint32

const (
	CutString  Cut = 1 << iota // a string longer than MaxString
	CutList                    // a list that could not be cut into a segment
	CutHistory                 // history longer than its bound
	CutStream                  // the stream was longer than what is inspected, or had holes
	CutSnaplen                 // packets were captured short, so the application may be incomplete
)

// Names of losses, used in LedgerSecond.losses, `tapwatch_…` metrics and the
// ledger table. The first group is lost before or in the capture, the second
// has no flow, the third had one.
const (
	LossRing      = "ring"      // the capture ring was full
	LossInterface = "interface" // the network card or its driver dropped
	LossSoftnet   = "softnet"   // the kernel's backlog was full

	LossSampled     = "sampled"     // left out by sampling
	LossFiltered    = "filtered"    // did not match the capture filter
	LossNonIP       = "non_ip"      // STP, LLDP …: no IP or ARP packet inside
	LossMalformed   = "malformed"   // headers contradict each other or the length
	LossTruncated   = "truncated"   // captured too short to find the flow key
	LossLinkType    = "link_type"   // unknown link type
	LossUnsupported = "unsupported" // an encapsulation we do not look into

	LossTableFull = "table_full" // no place in the flow table
	LossQueueFull = "queue_full" // records: the export queue was full
	LossSpoolFull = "spool_full" // records: the spool had to drop its oldest
)

func nameOf(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return ""
}
