package demo

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/deploy/demo/trace"
)

const folder = "captures"

// parsed is a packet with its headers.
type parsed struct {
	trace.Packet
	trace.Head
	ok bool
}

func load(t *testing.T) (map[string][]parsed, []Label) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.pcap.gz"))
	if err != nil || len(files) != 3 {
		t.Fatalf("captures: %d files (%v), want 3", len(files), err)
	}
	out := map[string][]parsed{}
	for _, file := range files {
		packets, err := trace.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list := make([]parsed, len(packets))
		for i, p := range packets {
			list[i].Packet = p
			list[i].Head, list[i].ok = trace.Parse(p.Data)
		}
		out[filepath.Base(file)] = list
	}
	labels, err := ReadLabels(filepath.Join(folder, "labels.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	return out, labels
}

var inside = netip.MustParsePrefix("10.20.0.0/16")

// TestCaptures holds the committed captures against their labels and against what detectors need to see.
func TestCaptures(t *testing.T) {
	files, labels := load(t)
	calendar := slices.Concat(files["1-baseline.pcap.gz"], files["2-attacks.pcap.gz"])
	t.Run("bounds", func(t *testing.T) { checkBounds(t, files) })
	t.Run("lengths", func(t *testing.T) { checkLengths(t, files) })
	t.Run("addresses", func(t *testing.T) { checkAddresses(t, files) })
	t.Run("labels", func(t *testing.T) { checkLabels(t, files, labels) })
	t.Run("scan", func(t *testing.T) { checkScans(t, files["2-attacks.pcap.gz"], labels) })
	t.Run("flood", func(t *testing.T) { checkFlood(t, files["2-attacks.pcap.gz"], labels) })
	t.Run("beacon", func(t *testing.T) { checkBeacon(t, calendar, labels) })
	t.Run("volume", func(t *testing.T) { checkVolume(t, calendar, labels) })
	t.Run("backup", func(t *testing.T) { checkBackup(t, calendar, labels) })
	t.Run("protocols", func(t *testing.T) { checkProtocols(t, files["3-protocols.pcap.gz"]) })
}

// checkBounds: small enough to clone and to replay, and continuous when the files are read in the order of their names.
func checkBounds(t *testing.T, files map[string][]parsed) {
	names := []string{"1-baseline.pcap.gz", "2-attacks.pcap.gz", "3-protocols.pcap.gz"}
	var size, packets int64
	sessions := 0
	last := int64(0)
	for _, name := range names {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
		packets += int64(len(files[name]))
		plain := make([]trace.Packet, len(files[name]))
		for i, p := range files[name] {
			plain[i] = p.Packet
			if p.Time < last {
				t.Fatalf("%s: packet %d lies %d us before its predecessor", name, i+1, last-p.Time)
			}
			if gap := p.Time - last; last > 0 && gap > 3*3600*1e6 {
				t.Errorf("%s: packet %d comes after a gap of %d s", name, i+1, gap/1e6)
			}
			last = p.Time
		}
		sessions += len(trace.Sessions(plain))
	}
	if size > 4e6 {
		t.Errorf("captures have %d octets, want at most 4 000 000", size)
	}
	if packets > 400000 || sessions > 60000 {
		t.Errorf("captures have %d packets and %d sessions, want at most 400 000 and 60 000", packets, sessions)
	}
	t.Logf("%d octets, %d packets, %d sessions", size, packets, sessions)
}

// checkLengths: the length on the wire is the one that the IP header tells, whatever was cut.
func checkLengths(t *testing.T, files map[string][]parsed) {
	for name, packets := range files {
		for i, p := range packets {
			if !p.ok {
				continue
			}
			want := 14 + p.IPLength
			if p.VLAN != 0 {
				want += 4
			}
			if p.Length != want {
				t.Fatalf("%s: packet %d: length %d, its headers say %d", name, i+1, p.Length, want)
			}
		}
	}
}

// checkAddresses: nothing but private and documentation addresses.
func checkAddresses(t *testing.T, files map[string][]parsed) {
	var allowed []netip.Prefix
	for _, s := range []string{"10.20.0.0/16", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "fd00:20::/32", "2001:db8::/32", "fe80::/10", "ff02::/16", "::/128"} {
		allowed = append(allowed, netip.MustParsePrefix(s))
	}
	for name, packets := range files {
		for i, p := range packets {
			for _, a := range []netip.Addr{p.Src.Addr(), p.Dst.Addr()} {
				if p.ok && !slices.ContainsFunc(allowed, func(n netip.Prefix) bool { return n.Contains(a) }) {
					t.Fatalf("%s: packet %d has the address %s", name, i+1, a)
				}
			}
		}
	}
}

func (l Label) covers(p parsed) bool {
	at := time.UnixMicro(p.Time)
	return p.ok && !at.Before(l.Start) && !at.After(l.End)
}

func (l Label) isVictim(a netip.Addr) bool {
	if prefix, err := netip.ParsePrefix(l.Victim); err == nil {
		return prefix.Contains(a)
	}
	return l.Victim == a.String()
}

// checkLabels: what a label says happens in its range, from its first second to its last.
func checkLabels(t *testing.T, files map[string][]parsed, labels []Label) {
	families := map[string]int{}
	for _, l := range labels {
		families[l.Family]++
		var first, last int64
		n := 0
		for _, p := range files[l.File] {
			if !l.covers(p) || !l.isVictim(p.Dst.Addr()) || l.Actor.IsValid() && p.Src.Addr() != l.Actor || l.Port != 0 && p.Dst.Port() != l.Port {
				continue
			}
			if n == 0 {
				first = p.Time
			}
			last = p.Time
			n++
		}
		if n < 20 {
			t.Errorf("%s of %s against %s: %d packets in its range", l.Family, l.Actor, l.Victim, n)
			continue
		}
		if first-l.Start.UnixMicro() > 1e6 || l.End.UnixMicro()-last > 3e6 {
			t.Errorf("%s: label from %s to %s, packets from %s to %s", l.Family, l.Start, l.End, time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC())
		}
	}
	for family, want := range map[string]int{"scan": 1, "sweep": 1, "flood": 1, "beacon": 1, "exfiltration": 1, "volume": 2, "benign": 1} {
		if families[family] != want {
			t.Errorf("%d labels of family %s, want %d", families[family], family, want)
		}
	}
}

func one(t *testing.T, labels []Label, family string) Label {
	t.Helper()
	i := slices.IndexFunc(labels, func(l Label) bool { return l.Family == family })
	if i < 0 {
		t.Fatalf("no label of family %s", family)
	}
	return labels[i]
}

// failed returns the targets that an address sent a SYN to and got no SYN-ACK from, within a label's range.
func failed(packets []parsed, l Label) map[netip.AddrPort]bool {
	out := map[netip.AddrPort]bool{}
	for _, p := range packets {
		if l.covers(p) && p.Protocol == trace.TCP && p.Src.Addr() == l.Actor && p.Flags&(trace.SYN|trace.ACK) == trace.SYN {
			out[p.Dst] = true
		}
	}
	for _, p := range packets {
		if l.covers(p) && p.Protocol == trace.TCP && p.Dst.Addr() == l.Actor && p.Flags&(trace.SYN|trace.ACK) == trace.SYN|trace.ACK {
			delete(out, p.Src)
		}
	}
	return out
}

func checkScans(t *testing.T, packets []parsed, labels []Label) {
	scan := one(t, labels, "scan")
	ports := map[uint16]bool{}
	for target := range failed(packets, scan) {
		if scan.isVictim(target.Addr()) {
			ports[target.Port()] = true
		}
	}
	if span := scan.End.Sub(scan.Start); len(ports) < 200 || span > 10*time.Minute {
		t.Errorf("vertical scan: %d failed ports in %s, want at least 200 in 10 minutes", len(ports), span)
	}
	sweep := one(t, labels, "sweep")
	hosts := map[netip.Addr]bool{}
	for target := range failed(packets, sweep) {
		if target.Port() == sweep.Port {
			hosts[target.Addr()] = true
		}
	}
	if span := sweep.End.Sub(sweep.Start); len(hosts) < 80 || span > 10*time.Minute {
		t.Errorf("sweep: %d failing hosts in %s, want at least 80 in 10 minutes", len(hosts), span)
	}
}

func checkFlood(t *testing.T, packets []parsed, labels []Label) {
	l := one(t, labels, "flood")
	windows := map[int64]int{}
	sources := map[netip.Addr]bool{}
	opened := map[netip.AddrPort]bool{}
	syns, completed := 0, 0
	for _, p := range packets {
		if !l.covers(p) || p.Protocol != trace.TCP || !l.isVictim(p.Dst.Addr()) || p.Dst.Port() != l.Port {
			continue
		}
		switch p.Flags & (trace.SYN | trace.ACK | trace.RST) {
		case trace.SYN:
			windows[p.Time/10e6]++
			sources[p.Src.Addr()] = true
			opened[p.Src] = true
			syns++
		case trace.ACK:
			if opened[p.Src] {
				completed++
				delete(opened, p.Src)
			}
		}
	}
	full := 0
	for _, n := range windows {
		if n >= 2000 {
			full++
		}
	}
	if full < 2 || len(sources) < 300 || float64(completed) >= 0.2*float64(syns) {
		t.Errorf("flood: %d windows of 10 s with 200 SYN/s, %d sources, %d of %d completed; want 2, 300, below a fifth", full, len(sources), completed, syns)
	}
}

// checkVolume: the two planted hours are the only large ones, and no workstation is ever silent for an hour.
func checkVolume(t *testing.T, packets []parsed, labels []Label) {
	type hostHour struct {
		host netip.Addr
		hour int64
	}
	total, out := map[hostHour]int{}, map[hostHour]int{}
	first, last := packets[0].Time/3600e6, packets[len(packets)-1].Time/3600e6
	stations := netip.MustParsePrefix("10.20.1.8/29")
	for _, p := range packets {
		for _, a := range []netip.Addr{p.Src.Addr(), p.Dst.Addr()} {
			if p.ok && stations.Contains(a) {
				total[hostHour{a, p.Time / 3600e6}] += p.IPLength
			}
		}
		if p.ok && inside.Contains(p.Src.Addr()) && !inside.Contains(p.Dst.Addr()) {
			out[hostHour{p.Src.Addr(), p.Time / 3600e6}] += p.IPLength
		}
	}
	want := map[hostHour]bool{}
	for _, l := range labels {
		if l.Family != "volume" {
			continue
		}
		host := l.Actor
		if !host.IsValid() {
			t.Fatalf("volume label without a host: %+v", l)
		}
		want[hostHour{host, l.Start.Unix() / 3600}] = true
	}
	for at, bytes := range total {
		if want[at] && bytes < 40e6 || !want[at] && bytes > 1e6 {
			t.Errorf("%s moved %d octets in the hour of %s; planted: %v", at.host, bytes, time.Unix(at.hour*3600, 0).UTC(), want[at])
		}
	}
	upload := one(t, labels, "exfiltration")
	for at, bytes := range out {
		planted := at == hostHour{upload.Actor, upload.Start.Unix() / 3600}
		if planted && bytes < 80e6 || !planted && bytes > 1e6 {
			t.Errorf("%s sent %d octets outside in the hour of %s; planted: %v", at.host, bytes, time.Unix(at.hour*3600, 0).UTC(), planted)
		}
	}
	for _, host := range []string{"10.20.1.11", "10.20.1.12", "10.20.1.13", "10.20.1.14", "10.20.1.15"} {
		for hour := first; hour <= last; hour++ {
			if total[hostHour{netip.MustParseAddr(host), hour}] == 0 {
				t.Errorf("%s is silent in the hour of %s", host, time.Unix(hour*3600, 0).UTC())
			}
		}
	}
}

// checkBackup: one every night of the four weeks, always in the same hour.
func checkBackup(t *testing.T, packets []parsed, labels []Label) {
	l := one(t, labels, "benign")
	nights := map[int64]int{}
	for _, p := range packets {
		if p.ok && p.Protocol == trace.TCP && p.Src.Addr() == l.Actor && l.isVictim(p.Dst.Addr()) && p.Dst.Port() == l.Port {
			if hour := time.UnixMicro(p.Time).UTC().Hour(); hour != 1 {
				t.Fatalf("backup traffic at %d o'clock", hour)
			}
			nights[p.Time/86400e6] += p.Size
		}
	}
	if len(nights) != 28 {
		t.Errorf("backups in %d nights, want 28", len(nights))
	}
	for night, bytes := range nights {
		if bytes < 2.5e6 || bytes > 3.5e6 {
			t.Errorf("backup of %s has %d octets", time.Unix(night*86400, 0).UTC(), bytes)
		}
	}
}

// checkProtocols looks for what each recorded protocol shows in clear, uncut.
func checkProtocols(t *testing.T, packets []parsed) {
	found := map[string]bool{}
	for i, p := range packets {
		if len(p.Data) != p.Length {
			t.Fatalf("packet %d is cut", i+1)
		}
		if !p.ok {
			continue
		}
		payload := p.Data[p.Payload:]
		is := func(name string, yes bool) {
			if yes {
				found[name] = true
			}
		}
		is("vlan", p.VLAN == 30 && p.Protocol == trace.TCP)
		is("ipv6", p.Src.Addr().Is6() && p.Protocol == trace.TCP)
		is("icmp", p.Protocol == trace.ICMP)
		is("icmpv6", p.Protocol == trace.ICMPv6)
		is("dns over udp", p.Protocol == trace.UDP && p.Src.Port() == 53)
		is("dns over tcp", p.Protocol == trace.TCP && p.Src.Port() == 53 && len(payload) > 0)
		is("quic v1", p.Protocol == trace.UDP && p.Dst.Port() == 443 && len(payload) > 5 && payload[0]&0xf0 == 0xc0 && bytes.Equal(payload[1:5], []byte{0, 0, 0, 1}))
		is("quic v2", p.Protocol == trace.UDP && p.Dst.Port() == 443 && len(payload) > 5 && payload[0]&0xf0 == 0xd0 && bytes.Equal(payload[1:5], []byte{0x6b, 0x33, 0x43, 0xcf}))
		is("ssh client", p.Dst.Port() == 22 && bytes.HasPrefix(payload, []byte("SSH-2.0-OpenSSH")))
		is("other ssh client", p.Dst.Port() == 22 && bytes.HasPrefix(payload, []byte("SSH-2.0-Go")))
		for _, name := range []string{"tls13.example", "tls12.example", "openssl12.example", "www.example.com", "post-quantum.example", "vlan.corp.test"} {
			is(name, p.Dst.Port() == 443 && len(payload) > 6 && payload[0] == 22 && payload[5] == 1 && bytes.Contains(payload, []byte(name)))
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
			is(method, p.Dst.Port() == 80 && bytes.HasPrefix(payload, []byte(method+" ")))
		}
		for _, status := range []string{"200", "201", "204", "301", "304", "404", "500"} {
			is("status "+status, p.Src.Port() == 80 && bytes.HasPrefix(payload, []byte("HTTP/1.1 "+status+" ")))
		}
	}
	for _, name := range []string{"vlan", "ipv6", "icmp", "icmpv6", "dns over udp", "dns over tcp", "quic v1", "quic v2", "ssh client", "other ssh client",
		"tls13.example", "tls12.example", "openssl12.example", "www.example.com", "post-quantum.example", "vlan.corp.test",
		"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS",
		"status 200", "status 201", "status 204", "status 301", "status 304", "status 404", "status 500"} {
		if !found[name] {
			t.Errorf("no %s in the protocols", name)
		}
	}
}
