package dpi

import (
	"net/netip"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestExpected follows what FTP and TFTP announce to the flow that comes of it.
func TestExpected(t *testing.T) {
	client, server := flow.AddrFrom(netip.MustParseAddr("192.0.2.1")), flow.AddrFrom(netip.MustParseAddr("198.51.100.2"))
	tests := []struct {
		name     string
		proto    uint8
		port     uint16
		says     []part
		src, dst flow.Addr // of the flow that is expected
		to       uint16
		data     string
		app      string
	}{
		{"PASV", protoTCP, 21, []part{{sideDst, "220 x\r\n"}, {sideSrc, "PASV\r\n"}, {sideDst, "227 Entering Passive Mode (198,51,100,2,200,10).\r\n"}}, client, server, 51210, "-rw-r--r--", "ftp_data"},
		{"PASV behind NAT", protoTCP, 21, []part{{sideDst, "220 x\r\n"}, {sideSrc, "PASV\r\n"}, {sideDst, "227 =10,0,0,1,200,10\r\n"}}, client, server, 51210, "-rw-r--r--", "ftp_data"},
		{"EPSV", protoTCP, 21, []part{{sideDst, "220 x\r\n"}, {sideSrc, "EPSV\r\n"}, {sideDst, "229 Extended (|||50000|)\r\n"}}, client, server, 50000, "x", "ftp_data"},
		{"PORT", protoTCP, 21, []part{{sideDst, "220 x\r\n"}, {sideSrc, "PORT 192,0,2,1,4,1\r\n"}}, server, client, 1025, "x", "ftp_data"},
		{"EPRT", protoTCP, 21, []part{{sideDst, "220 x\r\n"}, {sideSrc, "EPRT |1|192.0.2.1|1025|\r\n"}}, server, client, 1025, "x", "ftp_data"},
		{"another port", protoTCP, 21, []part{{sideDst, "220 x\r\n"}, {sideSrc, "PORT 192,0,2,1,4,1\r\n"}}, server, client, 1026, "x", "unknown"},
		{"no address", protoTCP, 21, []part{{sideDst, "220 x\r\n"}, {sideSrc, "PORT 192,0,2,1,4\r\n"}}, server, client, 1024, "x", "unknown"},
		{"TFTP", protoUDP, 69, []part{{sideSrc, "\x00\x01a\x00octet\x00"}}, server, client, 40000, "\x00\x03\x00\x01abc", "tftp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newTalk(t, tt.proto, tt.port)
			k.rec.SrcIP, k.rec.DstIP = client, server
			for _, p := range tt.says {
				k.send(p.d, p.data)
			}
			in := k.in
			k.end()
			k = newTalk(t, tt.proto, tt.to)
			k.in, k.rec.SrcPort, k.rec.SrcIP, k.rec.DstIP = in, 45000, tt.src, tt.dst
			k.send(sideSrc, tt.data)
			if r := k.end(); r.App != tt.app {
				t.Errorf("app %q, want %q", r.App, tt.app)
			}
			late := flow.Record{SrcIP: tt.src, DstIP: tt.dst, SrcPort: 45000, DstPort: tt.to, Start: 10 * expectFor}
			if got := in.expected.app(tt.proto, &late); got != "" {
				t.Errorf("ten minutes later still expected: %q", got)
			}
		})
	}
	var x expectations
	for i := range uint16(1000) {
		x.add(expectation{addr: client, port: i, proto: protoTCP, until: 1, app: "a"})
	}
	if x.app(protoTCP, &flow.Record{DstIP: client, DstPort: 999}) != "a" || x.app(protoTCP, &flow.Record{DstIP: client, DstPort: 1}) != "" {
		t.Error("the latest are not the ones that are kept")
	}
}
