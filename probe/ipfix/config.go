// Package ipfix exports flow records as IPFIX (RFC 7011) to a collector such as nfcapd, over UDP, TCP or TLS: as two
// unidirectional flows, or as biflows (RFC 5103).
//
// In come *flow.Record, on the workers' goroutines, which encode them into messages at once and keep nothing. Messages
// wait in a bounded queue for the one goroutine that sends them; when there is no room, the records are counted as
// dropped and capture goes on. Every worker is an observation domain of its own, with its own sequence numbers.
//
// An Exporter is a plugin.Exporter. Only information elements of the IANA registry are sent: Tapwatch has no private
// enterprise number, so what the registry lacks (TLS, QUIC, DNS and SSH names, JA4, round trip times, connection state)
// stays out; Kafka has it. SCTP, which RFC 7011 section 10.1 asks for, is not offered.
package ipfix

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// Config is where and how to export.
type Config struct {
	Address   string  `conf:"address" help:"host:port of the IPFIX collector; empty: no IPFIX"`
	Transport string  `conf:"transport" help:"udp or tcp"`
	TLS       kit.TLS `conf:"tls"`
	Biflow    bool    `conf:"biflow" help:"one record for both directions (RFC 5103); false: one for each, which every collector reads"`
	Times     string  `conf:"times" help:"milliseconds, microseconds or nanoseconds: resolution of start and end"`
	Domain    uint32  `conf:"domain" help:"observation domain of worker 0; worker n has domain + n"`

	MessageBytes kit.Bytes     `conf:"message_bytes" help:"largest message; 0: 1400 over udp, so that it fits one packet, and 16 KiB over tcp"`
	Templates    time.Duration `conf:"templates" help:"over udp, templates are sent again after this"`
	Statistics   time.Duration `conf:"statistics" help:"what was sent and what was not is told after this"`
	Queue        kit.Bytes     `conf:"queue" help:"messages that wait to be sent; then records are dropped and counted"`
	Drain        time.Duration `conf:"drain" help:"at the end wait this long for the collector"`

	SamplePackets uint32 `conf:"sample_packets" help:"as capture.sample_packets: counts are told as sampled 1 in this, for the collector to scale; 0 or 1: counts as they are"`
}

// DefaultConfig exports to nobody, over UDP, in uniflows.
func DefaultConfig() Config {
	return Config{Transport: "udp", Times: "milliseconds", Domain: 1, Templates: time.Minute, Statistics: time.Minute,
		Queue: 8 << 20, Drain: 2 * time.Second}
}

const (
	udpMessage = 1400
	tcpMessage = 16 << 10
	minMessage = 512   // the greatest record without strings is about 200 octets
	maxMessage = 65535 // the length field of a message (RFC 7011, section 3.1)
	maxUDP     = 65507 // payload of an IPv4 datagram
)

// Check says what is wrong with cfg without opening anything. A Config without Address is right.
func (cfg Config) Check() error {
	if cfg.Address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		return kit.Hint(fmt.Errorf("ipfix.address %q: it is not host:port", cfg.Address), "collectors listen on 4739 (IPFIX), nfcapd on 9995")
	}
	switch {
	case cfg.Transport != "udp" && cfg.Transport != "tcp":
		return fmt.Errorf("ipfix.transport %q: udp or tcp is needed", cfg.Transport)
	case cfg.Transport == "udp" && cfg.TLS.Enabled:
		return kit.Hint(errors.New("ipfix.tls: only TCP can be encrypted"), "set ipfix.transport to tcp")
	case timeOf(cfg.Times) == 0:
		return fmt.Errorf("ipfix.times %q: milliseconds, microseconds or nanoseconds is needed", cfg.Times)
	case cfg.MessageBytes != 0 && (cfg.MessageBytes < minMessage || int(cfg.MessageBytes) > cfg.most()):
		return fmt.Errorf("ipfix.message_bytes: %d is not within %d to %d", cfg.MessageBytes, minMessage, cfg.most())
	case cfg.Templates <= 0 || cfg.Statistics <= 0:
		return errors.New("ipfix: templates and statistics must be greater than zero")
	case cfg.Drain < 0:
		return errors.New("ipfix.drain: it must not be negative")
	case int(cfg.Queue) < 4*cfg.message():
		return fmt.Errorf("ipfix.queue: room for at least 4 messages, %d bytes, is needed", 4*cfg.message())
	}
	return nil
}

func (cfg Config) most() int {
	if cfg.Transport == "udp" {
		return maxUDP
	}
	return maxMessage
}

// message is the largest message in octets.
func (cfg Config) message() int {
	switch {
	case cfg.MessageBytes != 0:
		return int(cfg.MessageBytes)
	case cfg.Transport == "udp":
		return udpMessage
	}
	return tcpMessage
}

// timeOf returns the element of a flow's start at a resolution; its end is the next one. 0: no such resolution.
func timeOf(resolution string) uint16 {
	switch resolution {
	case "milliseconds":
		return flowStartMilliseconds
	case "microseconds":
		return flowStartMicroseconds
	case "nanoseconds":
		return flowStartNanoseconds
	}
	return 0
}
