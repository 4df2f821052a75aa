package dpi

import "github.com/tapwatch/tapwatch/proto/flow"

// protocol is all that the Inspector knows of one application protocol. Each
// has a file of its own, with a function that returns it, and one line in
// protocols.
type protocol struct {
	// app is the name in the record, lower case.
	app string
	// kind tells the protocols that other code of this package asks for;
	// kindOther for the rest.
	kind kind
	// tcp and udp are the ports of the service by convention. On them weaker
	// evidence will do (hint.onPort), they name a flow that shows nothing, and
	// elsewhere the flow gets RiskKnownProtocolOnNonStandardPort. None: any
	// port is as good as another.
	tcp, udp []uint16
	// risks are raised for every flow of the protocol.
	risks flow.Risk

	// stream recognises a TCP stream (or SCTP) by the octets that begin one of
	// its directions, or a packet of a connection met in its middle. nil: not
	// over TCP. It keeps nothing and must not be fooled by other protocols:
	// what it says yes to is never asked again.
	stream func(b []byte, h *hint) verdict
	// anyOctet: stream may say yes to octets of which the first alone gets a no,
	// as it does when it needs to see more of a connection met in its middle, or
	// looks at what the other side said. The others are asked only about octets
	// that begin as theirs may; TestFirstOctet finds those that need it.
	anyOctet bool
	// datagram recognises a UDP payload. nil: not over UDP.
	datagram func(b []byte, h *hint) bool

	// parse takes the octets of one direction that follow each other and
	// returns how many it has done with; 0 is "not yet": it is called again
	// with more. It ends a direction by setting half[d].dead, and steps over
	// octets it does not want with half[d].skip. nil: to know the protocol is
	// enough. now is the time of the packet, ns.
	parse func(in *Inspector, st *State, d side, b []byte, rec *flow.Record, now int64) int
	// message takes one UDP payload. nil: as parse.
	message func(in *Inspector, st *State, d side, b []byte, rec *flow.Record, now int64)
	// resume recognises the beginning of a message, where a parser that lost
	// its place in the stream may go on. nil: after a hole nothing more is read.
	resume func(b []byte) verdict
}

// protocols lists all protocols, one line each. Where two say yes the earlier
// has it, so strong evidence stands before weak.
func protocols() []protocol {
	return []protocol{
		ftpDataProtocol(),
		tlsProtocol(),
		httpProtocol(),
		sshProtocol(),
		mdnsProtocol(),
		llmnrProtocol(),
		nbnsProtocol(),
		quicProtocol(),
		dnsProtocol(),
		smbProtocol(),
		kerberosProtocol(),
		ldapProtocol(),
		rdpProtocol(),
		snmpProtocol(),
		cldapProtocol(),
		dhcpProtocol(),
		dhcpv6Protocol(),
		ntpProtocol(),
		syslogProtocol(),
		radiusProtocol(),
		diameterProtocol(),
		ftpProtocol(),
		smtpProtocol(),
		pop3Protocol(),
		imapProtocol(),
		telnetProtocol(),
		vncProtocol(),
		socksProtocol(),
		tftpProtocol(),
		ssdpProtocol(),
		nbdgmProtocol(),
		sipProtocol(),
		rtspProtocol(),
		dtlsProtocol(),
		wireguardProtocol(),
		openvpnProtocol(),
		ikeProtocol(),
		espProtocol(),
		l2tpProtocol(),
		modbusProtocol(),
		s7commProtocol(),
		dnp3Protocol(),
		iec104Protocol(),
		mqttProtocol(),
		amqpProtocol(),
		opcuaProtocol(),
		bitcoinProtocol(),
		kafkaProtocol(),
		rtmpProtocol(),
		ethernetipProtocol(),
		bacnetProtocol(),
		coapProtocol(),
		stunProtocol(),
		bittorrentProtocol(),
		rtcpProtocol(),
		mysqlProtocol(),
		postgresqlProtocol(),
		mssqlProtocol(),
		mongodbProtocol(),
		oracleProtocol(),
		cassandraProtocol(),
		redisProtocol(),
		memcachedProtocol(),
		http2Protocol(),
		websocketProtocol(),
		grpcProtocol(),
		torProtocol(),
		rtpProtocol(),
	}
}

// hint is what a recogniser may know besides the octets.
type hint struct {
	port   uint16 // the responder's
	ports  [2]uint16
	onPort bool // one of the protocol's ports takes part
	d      side // who says it: sideDst is the responder, if the start was seen
	// other is what is held of what the other side said, up to a few kB; it is
	// empty where that side was silent, or its octets are gone.
	other []byte
	// expected is the protocol that another flow has announced for this one.
	expected string
	// note is memory for the recogniser that needs two datagrams of one
	// direction: zero before the first. RTP and WireGuard use it.
	note *uint64
}

// kind names the protocols that have a part in the package beyond their own
// file.
type kind uint8

const (
	kindNone kind = iota
	kindOther
	kindTLS
	kindHTTP
	kindDNS
	kindSSH
	kindQUIC
)

// streams and datagrams are what is asked of a protocol over TCP and UDP: side
// by side, for all of them are asked about strangers.
type (
	streams struct {
		looks func(b []byte, h *hint) verdict
		ports []uint16
		of    *protocol
	}
	datagrams struct {
		looks func(b []byte, h *hint) bool
		ports []uint16
		of    *protocol
	}
)

// overUDP returns the protocols that have datagrams, in their order.
func overUDP(all []protocol) (list []datagrams) {
	for i := range all {
		if p := &all[i]; p.datagram != nil {
			list = append(list, datagrams{p.datagram, p.udp, p})
		}
	}
	return list
}

// beginning returns the protocols whose streams may begin with c, in their
// order. It is worked out when it is first asked for: most Inspectors never
// meet most octets.
func (in *Inspector) beginning(c byte) []streams {
	if in.byOctet[c] == nil {
		for i := range in.protocols {
			if p := &in.protocols[i]; p.stream != nil && (p.anyOctet || p.mayBegin(c)) {
				in.byOctet[c] = append(in.byOctet[c], streams{p.stream, p.tcp, p})
			}
		}
	}
	return in.byOctet[c]
}

// mayBegin tells whether octets that begin with c can be a beginning of p.
func (p *protocol) mayBegin(c byte) bool {
	b, h := []byte{c}, hint{ports: [2]uint16{40000, 40001}}
	for _, h.onPort = range [...]bool{false, true} {
		for _, h.d = range [...]side{sideSrc, sideDst} {
			if p.stream(b, &h) != no {
				return true
			}
		}
	}
	return false
}

// portNames is the application that a port stands for, by convention.
type portNames map[uint16]string

// byPort makes the table of port names; where two protocols name one port, the
// earlier has it.
func byPort(all []protocol, ports func(*protocol) []uint16) portNames {
	names := make(portNames)
	for i := range all {
		for _, port := range ports(&all[i]) {
			if names[port] == "" {
				names[port] = all[i].app
			}
		}
	}
	return names
}

// on tells whether one of the flow's ports is one of the list.
func (h *hint) on(list []uint16) bool {
	for _, p := range list {
		if p == h.ports[0] || p == h.ports[1] {
			return true
		}
	}
	return false
}
