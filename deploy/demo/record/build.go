package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tapwatch/tapwatch/deploy/demo"
	"github.com/tapwatch/tapwatch/deploy/demo/trace"
)

// The calendar: three quiet weeks, a week with the attacks, then the protocols.
var (
	calendarStart = time.Date(2026, 10, 12, 0, 0, 0, 0, time.UTC) // a Monday
	attackWeek    = calendarStart.AddDate(0, 0, 21)
	calendarEnd   = calendarStart.AddDate(0, 0, 28)
)

// The files; read in the order of their names they are in the order of time.
const (
	baselineFile  = "1-baseline.pcap.gz"
	attacksFile   = "2-attacks.pcap.gz"
	protocolsFile = "3-protocols.pcap.gz"
)

// calendar collects what is placed. Its random numbers have a fixed seed: the same raw captures give the same files.
type calendar struct {
	random  *rand.Rand
	ports   map[netip.Addr]uint16
	packets []trace.Packet
	labels  []demo.Label
}

// port hands out client ports as a kernel does, going up, so that no two connections of a host share one at a time.
func (c *calendar) port(host netip.Addr) uint16 {
	next := c.ports[host] + 2*uint16(1+c.random.IntN(4))
	if next < 32768 || next > 60999 {
		next = 32768 + uint16(c.random.IntN(64))
	}
	c.ports[host] = next
	return next
}

// place puts one session at a time with a new client port and returns the copy.
func (c *calendar) place(s trace.Session, at time.Time) []trace.Packet {
	packets := s.Place(at.UnixMicro(), c.port(s.Client.Addr()))
	c.packets = append(c.packets, packets...)
	return packets
}

// move puts a whole capture at a time, as it is.
func (c *calendar) move(packets []trace.Packet, at time.Time) []trace.Packet {
	moved := trace.Shift(packets, (at.Unix()-packets[0].Time/1e6)*1e6)
	c.packets = append(c.packets, moved...)
	return moved
}

// label notes what packets are. actor may be empty.
func (c *calendar) label(packets []trace.Packet, family, technique, actor, victim string, port uint16, note string) {
	l := demo.Label{File: attacksFile, Family: family, Technique: technique, Victim: victim, Port: port, Note: note}
	if actor != "" {
		l.Actor = netip.MustParseAddr(actor)
	}
	first, last := int64(math.MaxInt64), int64(0)
	for _, p := range packets {
		if _, ok := trace.Parse(p.Data); ok { // not the ARP before it
			first, last = min(first, p.Time), max(last, p.Time)
		}
	}
	l.Start, l.End = time.Unix(first/1e6, 0).UTC(), time.Unix((last+999999)/1e6, 0).UTC()
	c.labels = append(c.labels, l)
}

func build(raw, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	read := map[string][]trace.Packet{}
	for _, name := range []string{"zoo", "vlan", "scan", "sweep", "flood", "office", "beacon", "upload", "download", "backup"} {
		packets, err := trace.ReadFile(filepath.Join(raw, name+".pcap"))
		if err != nil {
			return err
		}
		if len(packets) == 0 {
			return fmt.Errorf("read %s.pcap: no packets: record the lab again", name)
		}
		trace.Sort(packets)
		read[name] = packets
	}
	c := &calendar{random: rand.New(rand.NewPCG(20, 4)), ports: map[netip.Addr]uint16{}}
	if err := c.business(whole(read["office"]), whole(read["backup"])); err != nil {
		return err
	}
	if err := c.attacks(read); err != nil {
		return err
	}
	trace.Sort(c.packets)
	at, _ := slices.BinarySearchFunc(c.packets, attackWeek.UnixMicro(), func(p trace.Packet, t int64) int { return cmp.Compare(p.Time, t) })
	protocols := slices.Concat(read["zoo"], read["vlan"])
	trace.Sort(protocols)
	protocols = trace.Shift(protocols, (calendarEnd.Unix()+300-protocols[0].Time/1e6)*1e6)
	for name, packets := range map[string][]trace.Packet{baselineFile: c.packets[:at], attacksFile: c.packets[at:], protocolsFile: protocols} {
		if err := trace.WriteFile(filepath.Join(out, name), packets); err != nil {
			return err
		}
		fmt.Printf("%s: %d packets, %d sessions\n", name, len(packets), len(trace.Sessions(packets)))
	}
	f, err := os.OpenFile(filepath.Join(out, "labels.tsv"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fs.FileMode(0o644))
	if err != nil {
		return fmt.Errorf("write labels: %w", err)
	}
	defer f.Close()
	return demo.WriteLabels(f, c.labels)
}

// whole returns the sessions that were recorded from beginning to end, cut.
func whole(packets []trace.Packet) []trace.Session {
	return slices.DeleteFunc(trace.Sessions(trace.Cut(packets)), func(s trace.Session) bool { return !s.Closed() })
}

// between selects the sessions of a client with a server's port; "" is any server.
func between(sessions []trace.Session, client, server string, port uint16) []trace.Session {
	var out []trace.Session
	for _, s := range sessions {
		if s.Client.Addr().String() == client && s.Server.Port() == port && (server == "" || s.Server.Addr().String() == server) {
			out = append(out, s)
		}
	}
	return out
}

// business places four weeks of office life: five workstations, busy from 8 to 18 on weekdays, never quite silent; the
// time server asked at random; the backup every night.
func (c *calendar) business(sessions, backup []trace.Session) error {
	pick := func(from []trace.Session) trace.Session { return from[c.random.IntN(len(from))] }
	weights := []int{32, 22, 17, 13, 9, 7} // of sites, roughly Zipf
	for _, host := range office {
		for _, site := range slices.Concat(sites, intranets) {
			if len(between(sessions, host, site.address, 443))+len(between(sessions, host, site.address, 80)) == 0 {
				return fmt.Errorf("place office sessions: none recorded of %s with %s: record the lab again", host, site.name)
			}
		}
		for _, need := range []struct {
			what string
			port uint16
		}{{"DNS", 53}, {"NTP", 123}} {
			if len(between(sessions, host, "", need.port)) == 0 {
				return fmt.Errorf("place office sessions: no %s recorded of %s: record the lab again", need.what, host)
			}
		}
	}
	if len(backup) == 0 {
		return fmt.Errorf("place backup: no session recorded: record the lab again")
	}
	for hour := calendarStart; hour.Before(calendarEnd); hour = hour.Add(time.Hour) {
		workday := hour.Weekday() != time.Saturday && hour.Weekday() != time.Sunday
		busy := workday && hour.Hour() >= 8 && hour.Hour() < 18
		for _, host := range office {
			// A visit is a few connections to one place within minutes; at night it is a single one, to any place.
			target, port := "", uint16(443)
			if c.random.IntN(100) < 50 {
				target, port = intranets[c.random.IntN(len(intranets))].address, 80
			} else if busy {
				dice, which := c.random.IntN(100), 0
				for dice >= weights[which] {
					dice -= weights[which]
					which++
				}
				target = sites[which].address
			} else {
				target = sites[c.random.IntN(len(sites))].address
			}
			n := 1
			if busy {
				n = 1 + c.random.IntN(3)
			}
			at := hour.Add(time.Duration(c.random.IntN(3000)) * time.Second)
			if c.random.IntN(100) < 60 {
				for range 2 { // the A and the AAAA question
					c.place(pick(between(sessions, host, "", 53)), at)
				}
			}
			for range n {
				at = at.Add(time.Duration(1+c.random.IntN(120)) * time.Second)
				c.place(pick(between(sessions, host, target, port)), at)
			}
			if admin := between(sessions, host, backupTarget, 22); busy && len(admin) > 0 && c.random.IntN(100) < 4 {
				c.place(pick(admin), hour.Add(time.Duration(c.random.IntN(3590))*time.Second))
			}
		}
	}
	for _, host := range office {
		// A poller without a rhythm: half of the gaps are exponential around 8 minutes, half around 5 hours.
		at := calendarStart
		for {
			mean := 8 * time.Minute
			if c.random.IntN(2) == 0 {
				mean = 5 * time.Hour
			}
			at = at.Add(time.Duration(c.random.ExpFloat64() * float64(mean)))
			if !at.Before(calendarEnd) {
				break
			}
			c.place(pick(between(sessions, host, "10.20.0.123", 123)), at)
		}
	}
	night := 0
	var thisWeek []trace.Packet
	for day := calendarStart; day.Before(calendarEnd); day = day.AddDate(0, 0, 1) {
		at := day.Add(time.Hour + time.Duration(c.random.IntN(600))*time.Second)
		packets := c.place(backup[night%len(backup)], at)
		if !day.Before(attackWeek) {
			thisWeek = append(thisWeek, packets...)
		}
		night++
	}
	c.label(thisWeek, "benign", "-", intranet, backupTarget, 443, "nightly backup of 2.6-3 MB, the same hour for four weeks")
	return nil
}

// alike returns the sessions with the commonest number of client packets. On a link without delay it is chance whether
// an ACK travels alone or with data; on the internet the server's answer is always later than the ACK.
func alike(sessions []trace.Session) []trace.Session {
	groups := map[int][]trace.Session{}
	best := 0
	for _, s := range sessions {
		n := 0
		for _, p := range s.Packets {
			if h, ok := trace.Parse(p.Data); ok && h.Src == s.Client {
				n++
			}
		}
		groups[n] = append(groups[n], s)
		if len(groups[n]) > len(groups[best]) {
			best = n
		}
	}
	return groups[best]
}

// attacks places what the detectors must find into the last week.
func (c *calendar) attacks(read map[string][]trace.Packet) error {
	at := func(day, hour, minute int) time.Time {
		return attackWeek.Add(time.Duration(day)*24*time.Hour + time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	c.label(c.move(read["scan"], at(1, 10, 20)), "scan", "T1046", scanner, intranet, 0, "nmap -sS of ports 1-240")
	c.label(c.move(read["sweep"], at(1, 14, 40)), "sweep", "T1018", sweeper, "10.20.200.0/24", 445, "nmap -sS of one port on 90 addresses")
	c.label(c.move(read["flood"], at(4, 11, 2)), "flood", "T1498.001", "", "10.20.0.81", 8443, fmt.Sprintf("%d SYN/s for %d s from 381 spoofed sources", floodRate, floodSeconds))

	check := alike(whole(read["beacon"]))
	if len(check) < beaconRecords/4 {
		return fmt.Errorf("place beacon: only %d connections of the same shape recorded: record the lab again", len(check))
	}
	var all []trace.Packet
	next, n := at(1, 18, 0), 0
	for end := next.Add(36 * time.Hour); next.Before(end); n++ {
		all = append(all, c.place(check[n%len(check)], next)...)
		next = next.Add(time.Duration(291+c.random.IntN(19)) * time.Second)
	}
	c.label(all, "beacon", "T1071.001", beaconHost, beaconTarget, 443, fmt.Sprintf("HTTPS to %s every 300 s ± 9 s for 36 h", beaconName))

	sent := between(whole(read["upload"]), uploadHost, uploadTarget, 443)
	if len(sent) != uploads {
		return fmt.Errorf("place upload: %d connections recorded instead of %d: record the lab again", len(sent), uploads)
	}
	all = nil
	for i, s := range sent {
		all = append(all, c.place(s, at(3, 2, 5+4*i))...)
	}
	c.label(all, "exfiltration", "T1048", uploadHost, uploadTarget, 443, fmt.Sprintf("%d uploads of 10 MiB to %s in half an hour, the host's own past is far below 1 MB an hour", uploads, uploadName))
	c.label(all, "volume", "-", uploadHost, uploadTarget, 443, "the same uploads are an unusual hour of this host as well")

	downloads := between(whole(read["download"]), mirrorHost, mirrorTarget, 80)
	if len(downloads) != 1 {
		return fmt.Errorf("place download: %d connections recorded instead of 1: record the lab again", len(downloads))
	}
	c.label(c.place(downloads[0], at(2, 20, 15)), "volume", "-", mirrorHost, mirrorTarget, 80, "a download of 48 MiB in an hour that has some 30 kB")
	return nil
}
