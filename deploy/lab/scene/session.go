package scene

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver is the office's own.
func resolver() netip.Addr { return server(53) }

// lookup asks the resolver for an address.
func (w *World) lookup(at time.Time, c netip.Addr, host string, addr netip.Addr) time.Time {
	return w.ask(at, c, resolver(), host, dnsmessage.TypeA, dnsmessage.RCodeSuccess, addr, nil)
}

// ask is one DNS question with its answer.
func (w *World) ask(at time.Time, c, s netip.Addr, host string, kind dnsmessage.Type, code dnsmessage.RCode, addr netip.Addr, text []byte) time.Time {
	id := uint16(w.rng.Uint32())
	src, dst := w.from(c), netip.AddrPortFrom(s, 53)
	w.datagram(at, src, dst, query(id, host, kind), 0)
	at = at.Add(w.between(time.Millisecond, 20*time.Millisecond))
	w.datagram(at, dst, src, answer(id, host, kind, code, addr, text), 0)
	return at.Add(time.Millisecond)
}

// visit is one TLS connection: up and down are octets of application data.
func (w *World) visit(at time.Time, c netip.Addr, who client, site name, up, down int64) time.Time {
	return w.tls(at, c, who, site, 443, up, down, time.Duration(1+down/4_000_000)*200*time.Millisecond)
}

func (w *World) tls(at time.Time, c netip.Addr, who client, site name, port uint16, up, down int64, within time.Duration) time.Time {
	t := w.open(at, c, site.addr, port)
	t.ask(who.hello(w.rng, site.host), 0)
	t.answer(serverHello(w.rng), 0)
	t.ask(record(23, noise(w.rng, 74)), 0)
	if up > largest {
		t.bulk(true, up, within)
	} else {
		t.ask([]byte{23, 3, 3, byte(up >> 8), byte(up)}, int(up))
	}
	if down > largest {
		t.bulk(false, down, within)
	} else {
		t.answer([]byte{23, 3, 3, byte(down >> 8), byte(down)}, int(down))
	}
	t.close()
	return t.now
}

// http is one request in clear with its answer.
func (w *World) http(at time.Time, c, s netip.Addr, port uint16, host, uri, agent string, down int) time.Time {
	t := w.open(at, c, s, port)
	t.ask(get(host, uri, agent), 0)
	t.answer(ok(down), min(down, largest))
	t.close()
	return t.now
}

// ssh is a session: a login that takes tries passwords, then octets each way. A
// server ends a login that failed.
func (w *World) ssh(at time.Time, c, s netip.Addr, port uint16, tries int, success bool, up, down int64, within time.Duration) time.Time {
	t := w.open(at, c, s, port)
	t.answer([]byte("SSH-2.0-OpenSSH_9.6\r\n"), 0)
	t.ask([]byte("SSH-2.0-OpenSSH_9.2p1\r\n"), 0)
	t.ask(noise(w.rng, 1200), 0)
	t.answer(noise(w.rng, 1080), 0)
	t.ask(noise(w.rng, 48), 0)
	t.answer(noise(w.rng, 452), 0)
	t.ask(noise(w.rng, 60), 0)
	t.answer(noise(w.rng, 44), 0)
	for range tries {
		t.wait(w.between(300*time.Millisecond, 900*time.Millisecond))
		t.ask(noise(w.rng, 148), 0)
		t.wait(w.between(700*time.Millisecond, 1500*time.Millisecond))
		t.answer(noise(w.rng, 52), 0)
	}
	if success {
		keys := max(2, int(within/(4*time.Second)))
		for range min(keys, 200) {
			t.wait(within / time.Duration(keys+1))
			t.ask(noise(w.rng, 36), 0)
			t.answer(noise(w.rng, 92), 0)
		}
		if up > 0 {
			t.bulk(true, up, within)
		}
		if down > 0 {
			t.bulk(false, down, within)
		}
	}
	t.close()
	return t.now
}

// refused is a SYN answered with a reset, silent one that nobody answers.
func (w *World) refused(at time.Time, c, s netip.AddrPort) {
	seq := w.rng.Uint32()
	w.segment(at, c, s, seq, 0, "S", nil, 0)
	w.segment(at.Add(300*time.Microsecond), s, c, 0, seq+1, "RA", nil, 0)
}

func (w *World) silent(at time.Time, c, s netip.AddrPort) {
	w.segment(at, c, s, w.rng.Uint32(), 0, "S", nil, 0)
}

// label is a random name part of n letters and digits.
func (w *World) label(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[w.rng.IntN(len(letters))]
	}
	return string(b)
}

// dotted cuts a long text into labels.
func dotted(s string) string {
	var parts []string
	for len(s) > 60 {
		parts, s = append(parts, s[:60]), s[60:]
	}
	return strings.Join(append(parts, s), ".")
}

// pause is a keep-alive on one long connection, of a thing that waits to be called.
func (w *World) keepalive(at time.Time, c netip.Addr, site name, every, lasting time.Duration) {
	t := w.open(at, c, site.addr, 8883)
	t.ask(tool().hello(w.rng, site.host), 0)
	t.answer(serverHello(w.rng), 0)
	for end := at.Add(lasting); t.now.Before(end); t.wait(every + w.between(-every/20, every/20)) {
		t.ask(record(23, noise(w.rng, 24)), 0)
		t.answer(record(23, noise(w.rng, 24)), 0)
	}
	t.close()
}

func numbered(what string, n int) name {
	return name{fmt.Sprintf("%s.vendor%02d.example", what, n), outside(200 + n)}
}
