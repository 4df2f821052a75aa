package dpi

import "testing"

func TestTor(t *testing.T) {
	for _, tt := range []struct {
		name string
		port uint16
		alpn []string
		want string
	}{
		{"www.pxh4tzqkvjw3xgbq.com", 443, nil, "tor"},
		{"www.iouhsafetyv.net", 9001, nil, "tor"},
		{"www.stackoverflow.com", 443, nil, "tls"},
		{"www.pxh4tzqkvjw3xgbq.com", 443, []string{"h2"}, "tls"},
		{"www.pxh4-zqkvjw3xgbq.com", 9001, nil, "tls"},
		{"pxh4tzqkvjw3xgbq.com", 9001, nil, "tls"},
	} {
		k := newTalk(t, protoTCP, tt.port)
		k.send(sideSrc, goHello(t, tt.name, tt.alpn...))
		if r := k.end(); r.App != tt.want {
			t.Errorf("%s on %d is %s, want %s", tt.name, tt.port, r.App, tt.want)
		}
	}
}
