package dpi

import (
	"slices"
	"testing"
)

func TestSIP(t *testing.T) {
	invite := "INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example\r\nFrom: \"A\" <sip:alice:secret@a.example>;tag=1\r\nTo: <sip:bob@b.example>\r\n" +
		"User-Agent: Phone 1\r\nContent-Length: 4\r\n\r\nv=0\n"
	busy := "SIP/2.0 486 Busy Here\r\nServer: PBX\r\nl: 0\r\n\r\n"
	check := func(t *testing.T, k *talk) {
		t.Helper()
		r := k.end()
		if r.App != "sip" || r.User != "alice" || r.Domain != "b.example" || r.ClientSoftware != "Phone 1" || r.ServerSoftware != "PBX" || r.AppErrors != 1 ||
			!slices.Equal(r.AppRequests, []string{"INVITE sip:bob@b.example", "ACK sip:bob@b.example"}) || !slices.Equal(r.AppResponses, []string{"486"}) {
			t.Errorf("%q %q %q %q %q %d %q %q", r.App, r.User, r.Domain, r.ClientSoftware, r.ServerSoftware, r.AppErrors, r.AppRequests, r.AppResponses)
		}
	}
	ack := "ACK sip:bob@b.example SIP/2.0\r\n\r\n"
	k := newTalk(t, protoUDP, 5060)
	k.send(sideSrc, invite)
	k.send(sideDst, busy)
	k.send(sideSrc, ack)
	check(t, k)
	for _, size := range []int{5, 40, 1000} {
		k = newTalk(t, protoTCP, 6000)
		for d, s := range []string{invite + "\r\n", busy, ack} {
			for len(s) > 0 {
				n := min(size, len(s))
				k.send(side(d&1), s[:n])
				s = s[n:]
			}
		}
		check(t, k)
	}
}
