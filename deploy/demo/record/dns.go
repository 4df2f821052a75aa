package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// record is one entry of the lab's zone: the type and its text, an address, a name or a string.
type record struct {
	kind dnsmessage.Type
	text string
}

// zone is what the lab's resolver knows, in names reserved by RFC 2606. It is read only.
func zone() map[string][]record {
	z := map[string][]record{
		"www.example.com.":         {{dnsmessage.TypeCNAME, "edge.cdn.example."}},
		"edge.cdn.example.":        {{dnsmessage.TypeA, "192.0.2.20"}, {dnsmessage.TypeAAAA, "2001:db8:ee::80"}},
		"intranet.corp.test.":      {{dnsmessage.TypeA, "10.20.0.80"}, {dnsmessage.TypeAAAA, "fd00:20::80"}},
		"backup.corp.test.":        {{dnsmessage.TypeA, "10.20.0.22"}},
		"corp.test.":               {{dnsmessage.TypeMX, "mail.example."}, {dnsmessage.TypeTXT, "v=spf1 mx -all"}},
		"_dmarc.corp.test.":        {{dnsmessage.TypeTXT, "v=DMARC1; p=reject"}},
		beaconName + ".":           {{dnsmessage.TypeA, "203.0.113.50"}},
		"10.1.20.10.in-addr.arpa.": {{dnsmessage.TypePTR, "pc10.corp.test."}},
	}
	for _, site := range append(intranets[1:len(intranets):len(intranets)], sites...) {
		z[site.name+"."] = []record{{dnsmessage.TypeA, site.address}}
	}
	// Too large for UDP without EDNS0, so that the client asks again over TCP.
	for i := range 30 {
		z["large.corp.test."] = append(z["large.corp.test."], record{dnsmessage.TypeTXT, fmt.Sprintf("part %02d %s", i, strings.Repeat("x", 60))})
	}
	return z
}

// answer resolves one query within the zone, following CNAMEs as a recursive resolver does. limit is the largest
// message allowed; a larger one is truncated (RFC 1035 section 4.2.1).
func answer(z map[string][]record, query []byte, limit int) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, fmt.Errorf("parse query: %w", err)
	}
	question, err := parser.Question()
	if err != nil {
		return nil, fmt.Errorf("parse question: %w", err)
	}
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{ID: header.ID, Response: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true},
	}
	reply.Questions = []dnsmessage.Question{question}
	name := strings.ToLower(question.Name.String())
	for range 8 { // bounds a chain of CNAMEs
		records, known := z[name]
		if !known {
			reply.RCode = dnsmessage.RCodeNameError
			break
		}
		next := ""
		for _, r := range records {
			if r.kind != question.Type && r.kind != dnsmessage.TypeCNAME {
				continue
			}
			owner, err := dnsmessage.NewName(name)
			if err != nil {
				return nil, fmt.Errorf("name %q: %w", name, err)
			}
			resource := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: owner, Type: r.kind, Class: dnsmessage.ClassINET, TTL: 300}}
			switch r.kind {
			case dnsmessage.TypeA:
				resource.Body = &dnsmessage.AResource{A: netip.MustParseAddr(r.text).As4()}
			case dnsmessage.TypeAAAA:
				resource.Body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(r.text).As16()}
			case dnsmessage.TypeTXT:
				resource.Body = &dnsmessage.TXTResource{TXT: []string{r.text}}
			case dnsmessage.TypeMX:
				resource.Body = &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName(r.text)}
			case dnsmessage.TypePTR:
				resource.Body = &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(r.text)}
			case dnsmessage.TypeCNAME:
				resource.Body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(r.text)}
				next = r.text
			}
			reply.Answers = append(reply.Answers, resource)
		}
		if next == "" || question.Type == dnsmessage.TypeCNAME {
			break
		}
		name = next
	}
	out, err := reply.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack answer: %w", err)
	}
	if len(out) > limit {
		reply.Answers, reply.Truncated = nil, true
		if out, err = reply.Pack(); err != nil {
			return nil, fmt.Errorf("pack answer: %w", err)
		}
	}
	return out, nil
}

// serveDNS answers on one address over UDP and TCP until ctx ends.
func serveDNS(ctx context.Context, address string, done chan<- error) error {
	z := zone()
	datagrams, err := net.ListenPacket("udp", address)
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	streams, err := net.Listen("tcp", address)
	if err != nil {
		datagrams.Close()
		return fmt.Errorf("listen for DNS: %w", err)
	}
	context.AfterFunc(ctx, func() { datagrams.Close(); streams.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := datagrams.ReadFrom(buf)
			if err != nil {
				done <- err
				return
			}
			if reply, err := answer(z, buf[:n], 1232); err == nil {
				datagrams.WriteTo(reply, from) // a lost answer is the client's to notice
			}
		}
	}()
	go func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				done <- err
				return
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				for {
					var size [2]byte
					if _, err := io.ReadFull(conn, size[:]); err != nil {
						return
					}
					query := make([]byte, binary.BigEndian.Uint16(size[:]))
					if _, err := io.ReadFull(conn, query); err != nil {
						return
					}
					reply, err := answer(z, query, 65535)
					if err != nil {
						return
					}
					if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return nil
}

// resolver is Go's own stub resolver, asking the lab's server from address from. With tcp every question goes over TCP.
func resolver(from string, tcp bool) *net.Resolver {
	server := "10.20.0.53:53"
	if strings.Contains(from, ":") {
		server = "[fd00:20::53]:53"
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if tcp {
			network = "tcp"
		}
		dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
		if strings.HasPrefix(network, "tcp") {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		return dialer.DialContext(ctx, network, server)
	}}
}
