package dpi

import (
	"strings"
	"testing"
)

func TestBER(t *testing.T) {
	for _, tt := range []struct {
		in         string
		tag        byte
		head, size int
	}{
		{"", 0, 0, 0},
		{"\x30", 0, 0, 0},
		{"\x30\x05", 0x30, 2, 5},
		{"\x30\x80", 0, -1, 0}, // indefinite
		{"\x30\x82\x01", 0, 0, 0},
		{"\x30\x82\x01\x00", 0x30, 4, 256},
		{"\x30\x84\xff\xff\xff\xff", 0, -1, 0},
		{"\x30\x85\x00\x00\x00\x00\x01", 0, -1, 0},
		{"\x1f\x05", 0, -1, 0}, // a tag of several octets
	} {
		if tag, head, size := berHead([]byte(tt.in)); tag != tt.tag || head != tt.head || size != tt.size {
			t.Errorf("%x: tag %x head %d size %d", tt.in, tag, head, size)
		}
	}
	for in, want := range map[string]int64{"\x02\x01\x05": 5, "\x02\x01\xff": -1, "\x02\x02\x00\x80": 128, "\x02\x04\x80\x00\x00\x00": -1 << 31} {
		r := ber{b: []byte(in)}
		if got := r.integer(berInteger); got != want || r.bad {
			t.Errorf("%x is %d, want %d", in, got, want)
		}
	}
	for in, want := range map[string]string{"\x2b\x06\x01\x02\x01": "1.3.6.1.2.1", "\x2a\x86\x48\x86\xf7\x0d": "1.2.840.113549", "\x88\x37\x03": "2.999.3", "": ""} {
		if got := string(appendOID(nil, []byte(in))); got != want {
			t.Errorf("%x is %s, want %s", in, got, want)
		}
	}
	r := ber{b: []byte("\x04\x05abc")} // longer than what is there
	if tag, v := r.next(); tag != 0 || v != nil || !r.bad {
		t.Errorf("tag %x value %q", tag, v)
	}
}

func FuzzBER(f *testing.F) {
	f.Add([]byte("\x30\x0c\x02\x01\x00\x04\x06public\xa0\x00"))
	for _, s := range loadSamples(f) {
		for _, p := range s.parts {
			if strings.HasPrefix(p.data, "0") {
				f.Add([]byte(p.data))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for r, n := (ber{b: b}), 0; len(r.b) > 0; n++ {
			before := len(r.b)
			if _, v := r.next(); len(v) > before || len(r.b) >= before {
				t.Fatalf("%d octets of %d, %d left", len(v), before, len(r.b))
			}
		}
		appendOID(nil, b)
		appendFilter(nil, &ber{b: b}, 0)
		appendPrincipal(nil, ber{b: b})
		looksLDAP(b)
		looksKerberos(b, true)
		looksKerberosStream(b, nil)
		looksSNMP(b)
	})
}
