package mirror

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Counts is what an Observer knows of one interface.
type Counts struct {
	Interface string
	Packets   uint64 // given to Packet
	Records   uint64 // given to Record

	Cut       uint64 // frames captured shorter than they were
	CutLength uint32 // captured octets of the longest of them
	Lengths   uint64 // IP headers whose length was compared with the frame's
	SwitchCut uint64 // of these, those that claim more than the frame had on the wire

	Compared uint64            // frames compared with those before
	Doubled  [copyKinds]uint64 // of these, second copies
	// Across counts frames seen on two interfaces, AcrossSum the time between them, ns, the later seen minus the first.
	Across    uint64
	AcrossSum int64

	Large   uint64 // TCP frames above largeFrame
	Joined  uint64 // of these, longer than any wire or any MSS allows
	MSS     uint16 // the greatest of a SYN
	Checked uint64 // checksums of TCP and UDP computed
	Partial uint64 // of these, left to the sender's card
	Damaged uint64 // of these, wrong otherwise

	OneWay, TwoWay uint64 // TCP connections by directions seen

	Pairs      uint64 // TCP connections whose directions' tags were compared
	HalfTagged uint64 // of these, one direction is tagged, the other is not
	TwoTags    uint64 // of these, the directions have different tags
	TwoTunnels uint64 // of these, the directions have different tunnels or mirror sessions
	VLANs      [64]uint64

	Acked, Unseen    uint64 // octets that were acknowledged, and of them, those that never came by
	Acks, UnseenAcks uint64 // acknowledgements that said so

	Backwards     uint64 // frames older than the one before
	BackwardsMost int64  // ns
	ClockOffset   int64  // ns, wall clock minus the capture's; math.MaxInt64: not measured

	last int64 // time of the last frame
}

// halve forgets half.
func (c *Counts) halve() {
	for _, n := range [...]*uint64{&c.Packets, &c.Records, &c.Cut, &c.Lengths, &c.SwitchCut, &c.Compared, &c.Across, &c.Large, &c.Joined, &c.Checked, &c.Partial,
		&c.Damaged, &c.OneWay, &c.TwoWay, &c.Pairs, &c.HalfTagged, &c.TwoTags, &c.TwoTunnels, &c.Acked, &c.Unseen, &c.Acks, &c.UnseenAcks, &c.Backwards} {
		*n /= 2
	}
	for i := range c.Doubled {
		c.Doubled[i] /= 2
	}
	c.AcrossSum /= 2
	if c.Backwards == 0 {
		c.BackwardsMost = 0
	}
	if c.Records < 100 {
		c.VLANs = [64]uint64{}
	}
	c.ClockOffset = math.MaxInt64
}

func (c *Counts) copies() (n uint64) {
	for _, k := range c.Doubled {
		n += k
	}
	return n
}

// Kind is a state of a mirror.
type Kind string

// Kinds are the values of the label "state" of the metric, too.
const (
	OneWay        Kind = "one_way"             // connections of which one direction is seen
	Doubled       Kind = "doubled"             // frames that come twice
	Snaplen       Kind = "snaplen"             // frames cut by the capture
	SwitchCut     Kind = "truncated"           // frames cut before the capture
	Joined        Kind = "offload_segments"    // frames that no wire carries
	Checksum      Kind = "offload_checksum"    // checksums that a card had yet to compute
	HalfTagged    Kind = "vlan_half"           // one direction tagged
	TwoTags       Kind = "vlan_two"            // the directions have different tags
	MissingVLAN   Kind = "vlan_missing"        // an expected VLAN is not there
	Backwards     Kind = "clock_backwards"     // timestamps that go back
	ClockOffset   Kind = "clock_offset"        // against the wall clock
	ClockDisagree Kind = "clock_disagreement"  // between interfaces
	Unseen        Kind = "acknowledged_unseen" // loss before the capture, estimated
)

// Share is the figure of one state, whether it is a finding or not.
type Share struct {
	Interface string
	Kind      Kind
	// Value is a share, 0 to 1, or seconds for ClockOffset and ClockDisagree.
	Value float64
	// Of is what it is a share of: frames, connections or octets; 0: nothing was seen that could tell, and Value is 0.
	Of uint64
	// Count is how many of them.
	Count uint64
}

// Severity of a finding.
type Severity string

const (
	Notice  Severity = "notice"  // the figures are right, but something is odd
	Warning Severity = "warning" // some figures are wrong
	Failure Severity = "error"   // most figures are wrong
)

// Finding is a state that is beyond doubt.
type Finding struct {
	Kind      Kind
	Interface string
	Severity  Severity
	Share     float64 // as Share.Value
	Text      string  // what was seen
	Hint      string  // what to change
}

func share(c *Counts, k Kind, count, of uint64) Share {
	s := Share{Interface: c.Interface, Kind: k, Count: count, Of: of}
	if of > 0 {
		s.Value = float64(count) / float64(of)
	}
	return s
}

// Shares returns the figure of each state of each interface that had packets or records. A clock that was not compared is left out.
func (o *Observer) Shares() (list []Share) {
	for _, c := range o.list {
		if c.Packets+c.Records > 0 {
			list = append(list, o.cfg.shares(c)...)
		}
	}
	return list
}

func (cfg Config) shares(c *Counts) []Share {
	copies := c.copies()
	missing := uint64(len(cfg.missing(c)))
	list := []Share{
		share(c, OneWay, c.OneWay, c.OneWay+c.TwoWay),
		share(c, Doubled, copies, max(c.Compared-min(copies, c.Compared), copies)),
		share(c, Snaplen, c.Cut, c.Packets),
		share(c, SwitchCut, c.SwitchCut, c.Lengths),
		share(c, Joined, c.Joined, c.Packets),
		share(c, Checksum, c.Partial, c.Checked),
		share(c, HalfTagged, c.HalfTagged, c.Pairs),
		share(c, TwoTags, c.TwoTags, c.Pairs),
		share(c, MissingVLAN, missing, uint64(len(cfg.VLANs))),
		share(c, Backwards, c.Backwards, c.Packets),
		share(c, Unseen, c.Unseen, c.Acked),
	}
	if c.ClockOffset != math.MaxInt64 {
		list = append(list, Share{c.Interface, ClockOffset, float64(c.ClockOffset) / 1e9, c.Packets, 0})
	}
	if c.Across > 0 {
		list = append(list, Share{c.Interface, ClockDisagree, float64(c.AcrossSum) / float64(c.Across) / 1e9, c.Across, c.Across})
	}
	return list
}

// missing returns the expected VLANs that no record had.
func (cfg Config) missing(c *Counts) (ids []uint16) {
	for _, id := range cfg.VLANs {
		if c.VLANs[id>>6&63]&(1<<(id&63)) == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// Findings returns what is beyond doubt, by interface in the order met. It is empty for a good mirror, and for one that showed too little.
func (o *Observer) Findings() (list []Finding) {
	for _, c := range o.list {
		for _, s := range o.cfg.shares(c) {
			if f, ok := o.cfg.judge(c, s); ok {
				f.Kind, f.Interface, f.Share = s.Kind, s.Interface, s.Value
				list = append(list, f)
			}
		}
	}
	return list
}

// judge says whether a share is a finding. Where it begins: a state that also healthy networks have now and then (a connection that begins
// before the capture, a repeated datagram) must be far more frequent than there; the shares on the captures of testdata/real.golden are the measure.
func (cfg Config) judge(c *Counts, s Share) (f Finding, found bool) {
	percent := func(v float64) string { return fmt.Sprintf("%.3g %%", 100*v) }
	frames, flows := uint64(cfg.MinFrames), uint64(cfg.MinFlows)
	severity := func(grave float64) Severity {
		if s.Value >= grave {
			return Failure
		}
		return Warning
	}
	switch s.Kind {
	case OneWay:
		return Finding{Severity: severity(0.5),
			Text: fmt.Sprintf("%d of %d TCP connections show one direction only, which acknowledges what is not seen", s.Count, s.Of),
			Hint: "mirror both directions: SPAN source 'both' (Cisco, Arista), ingress and egress as analyzer input (Juniper); with a TAP, connect both outputs; " +
				"with links in parallel or asymmetric routing, mirror every member"}, s.Of >= flows && s.Value >= 0.2 && !c.split()
	case Doubled:
		how, hint := c.mostCopies()
		return Finding{Severity: severity(0.3),
			Text: fmt.Sprintf("%s of the frames come twice: %s", percent(s.Value), how), Hint: hint}, s.Count >= frames && s.Value >= 0.05
	case Snaplen:
		return Finding{Severity: severity(0.5),
			Text: fmt.Sprintf("%s of the frames are cut, to %d octets at most: their length is counted, their contents are not seen", percent(s.Value), c.CutLength),
			Hint: "set capture.snaplen to 0, or take captures without a limit (tcpdump -s 0)"}, s.Count >= frames && s.Value >= 0.01
	case SwitchCut:
		return Finding{Severity: severity(0.5),
			Text: fmt.Sprintf("%s of the packets are longer by their IP header than the frame that arrived: they were cut on the way", percent(s.Value)),
			Hint: "switch truncation off in the mirror session ('no mtu truncate', 'truncate' or 'maximum-packet-length' of SPAN, ERSPAN or analyzer), and raise the MTU on the way of an ERSPAN " +
				"or VXLAN mirror by the header's 50 octets"}, s.Count >= frames && s.Value >= 0.01
	case Joined:
		return Finding{Severity: Warning,
			Text: fmt.Sprintf("%d TCP frames are longer than the network carries (%d above 1526 octets, greatest MSS %d): segments were joined before the capture, so packet counts and sizes are not those of the wire",
				s.Count, c.Large, c.MSS),
			Hint: "on the capturing interface: ethtool -K IF gro off lro off; capture at the mirror port and not on a host that sends (its gso and tso join, too)"}, s.Count >= frames
	case Checksum:
		return Finding{Severity: Notice,
			Text: fmt.Sprintf("%s of the checksums were left to a card: the frames were captured on the host that sends them, not on the wire", percent(s.Value)),
			Hint: "harmless here; to see what is on the wire capture at a mirror port, or ethtool -K IF tx off on the sending host or virtual switch"}, s.Count >= frames && s.Value >= 0.05
	case HalfTagged:
		return Finding{Severity: Warning,
			Text: fmt.Sprintf("%d of %d connections are tagged in one direction only: the same connection seems to be in two VLANs", s.Count, s.Of),
			Hint: "have tags kept for both directions: 'encapsulation replicate' or 'dot1q' on the SPAN destination (Cisco), and a trunk, not an access port, as its source or destination"}, s.Of >= flows && s.Value >= 0.2 && c.Doubled[copyVLAN] < frames
	case TwoTags:
		return Finding{Severity: Warning,
				Text: fmt.Sprintf("%d of %d connections have another VLAN tag in each direction, so that each direction is a flow of its own", s.Count, s.Of),
				Hint: "that is so with private or asymmetric VLANs, and where one side of a router is mirrored on receive and the other on transmit: mirror one VLAN in both directions"},
			s.Of >= flows && s.Value >= 0.2 && c.Doubled[copyVLAN]+c.Doubled[copyRouted] < frames
	case MissingVLAN:
		ids := cfg.missing(c)
		hint := "add them to the session's sources: 'source vlan' or the trunk's allowed VLANs"
		if c.untagged() {
			hint = "no frame has a tag: keep them with 'encapsulation replicate' or 'dot1q' on the SPAN destination, and see that the card delivers them"
		}
		return Finding{Severity: Warning, Text: fmt.Sprintf("no flow in VLAN %s, which mirror.vlans expects", strings.Trim(fmt.Sprint(ids), "[]")), Hint: hint},
			len(ids) > 0 && c.Records >= 10*flows
	case Backwards:
		return Finding{Severity: Warning,
				Text: fmt.Sprintf("%d frames are older than the one before, by up to %v: several clocks, or one that is set", s.Count, time.Duration(c.BackwardsMost).Round(time.Microsecond)),
				Hint: "let one clock stamp: card timestamps on all ports or on none, PTP or NTP with slewing on the host and on switches that stamp (ERSPAN III, Arista); merge files by time (mergecap)"},
			s.Count >= frames && s.Value >= 0.001
	case ClockOffset:
		return Finding{Severity: severity(60),
			Text: fmt.Sprintf("the capture's clock is %v behind the host's", time.Duration(c.ClockOffset).Round(time.Millisecond)),
			Hint: "synchronise the card's or switch's clock (phc2sys, ptp4l), or stamp by the host; set the host's own clock by NTP"}, math.Abs(s.Value) >= 1
	case ClockDisagree:
		return Finding{Severity: Warning,
			Text: fmt.Sprintf("the same %d frames are stamped %v apart on two interfaces", s.Count, time.Duration(s.Value*1e9).Round(time.Microsecond)),
			Hint: "stamp all ports by one clock: the host's, or cards synchronised by phc2sys"}, s.Count >= frames && math.Abs(s.Value) >= 0.01
	case Unseen:
		return Finding{Severity: severity(0.05),
				Text: fmt.Sprintf("an estimated %s of TCP's octets were lost before the capture: acknowledged, but never seen", percent(s.Value)),
				Hint: "the SPAN destination is oversubscribed, or the card or ring drops (see the ledger): mirror fewer ports or VLANs, one direction per destination port, or a faster port"},
			c.UnseenAcks >= frames && 100*c.SwitchCut < c.Lengths+1 && c.Acks >= 10*flows && s.Value >= 0.005
	}
	return Finding{}, false
}

// split: connections fall into two flows because their directions' tags or tunnels differ.
func (c *Counts) split() bool {
	return c.Pairs > 0 && 5*(c.HalfTagged+c.TwoTags+c.TwoTunnels) >= c.Pairs
}

func (c *Counts) untagged() bool {
	tagged := c.VLANs
	tagged[0] &^= 1
	return tagged == [64]uint64{}
}

// mostCopies explains the most frequent kind of copies.
func (c *Counts) mostCopies() (how, hint string) {
	kind := copyKind(0)
	for k, n := range c.Doubled {
		if n > c.Doubled[kind] {
			kind = copyKind(k)
		}
	}
	switch kind {
	case copyRouted:
		return "before and after a router (the TTL differs)", "mirror the router's interfaces on one side only, or a VLAN in one direction (SPAN source 'rx')"
	case copyVLAN:
		return "with different VLAN tags", "take one of the two VLANs, or the trunk or the access ports but not both, out of the session's sources"
	case copyMAC:
		return "with different MAC addresses", "mirror one side of the device between the two networks only (proxy ARP, firewall or load balancer)"
	case copyInterface:
		return "on two interfaces of the probe", "two sessions have a source in common: take it out of one"
	}
	return "nothing differs between the copies", "mirror received frames only (SPAN source 'rx', analyzer input ingress) when a whole VLAN or all ports are the source: with 'both', what passes " +
		"between two of them is copied where it comes in and where it goes out"
}
