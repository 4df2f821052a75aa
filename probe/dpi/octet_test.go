package dpi

import "testing"

// TestFirstOctet holds the recognisers that are asked by the first octet only
// against all samples, whole and cut short, with anything before them from the
// other side: what they do not say no to, they must not say no to when they see
// only its beginning.
func TestFirstOctet(t *testing.T) {
	others := []string{"", "220 ready\r\n", "* OK ready\r\n", "+OK ready\r\n", "CAPA\r\n", "*1\r\n$4\r\nPING\r\n", "\x05\x01\x00", http2Preface}
	var data []string
	for _, s := range loadSamples(t) {
		for _, p := range s.parts {
			if p.data != "" {
				data = append(data, p.data)
			}
		}
	}
	all, asked := protocols(), 0
	for i := range all {
		p := &all[i]
		if p.stream == nil || p.anyOctet {
			continue
		}
		for _, b := range data {
			for _, n := range []int{2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24, 32, 48, 100, len(b)} {
				for _, onPort := range []bool{false, true} {
					for k := range 2 * len(others) {
						h := hint{port: 1234, ports: [2]uint16{1234, 40000}, onPort: onPort, d: side(k & 1), other: []byte(others[k/2])}
						if n > len(b) || p.stream([]byte(b[:n]), &h) == no {
							continue
						}
						asked++
						if !p.mayBegin(b[0]) {
							t.Fatalf("%s recognises %.40q (other side %.20q), which its first octet denies: set anyOctet", p.app, b[:n], h.other)
						}
					}
				}
			}
		}
	}
	if asked == 0 {
		t.Fatal("no sample was recognised")
	}
}
