package query

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	l := New()
	// | is the cursor; the wanted are among the first proposals, in order.
	tests := []struct{ text, first, place string }{
		{"|", "host net port", "0-0"},
		{"dst_p|", "dst_port dst_packets dst_payload_bytes", "0-5"},
		{"ssh|", "ssh_client ssh_server hassh hassh_server", "0-3"},
		{"app = dns and po|", "port src_port dst_port", "14-16"},
		{"app = dns a|", "and", "10-11"},
		{"app = dns |", "and or )", "10-10"},
		{"app |", "= != in like", "4-4"},
		{"src_ip |", "= != in exists not", "7-7"},
		{"conn_state = r|", "REJ RSTO RSTR RSTOS0 RSTRH", "13-14"},
		{"conn_state in (S0, s|", "S0 S1 SF S2 S3 SH SHR", "19-20"},
		{"conn_state in (S0 |", ", )", "18-18"},
		{"protocol = |", "icmp igmp", "11-11"},
		{"protocol = 'tc|", "'tcp'", "11-14"},
		{"risk has weak|", "tls_weak_cipher", "9-13"},
		{"risk |", "url_possible_xss", "5-5"},
		{"last |", "1h 24h 7d", "5-5"},
		{"last 7d |", "and or", "8-8"},
		{"between today and |", "1h", "18-18"},
		{"not |", "host", "4-4"},
		{"not exists tls_s|", "tls_sni", "11-16"},
		{"initiator_guessed = |", "true false", "20-20"},
		{"dst_|port = 443", "dst_mac dst_ip dst_port", "0-8"},
		{"nosuch |", "", "7-7"},
		{"app = dns & |", "", "12-12"},
		{"tls_sni = 'a|", "", "10-12"},
	}
	for _, tt := range tests {
		cursor := strings.IndexByte(tt.text, '|')
		text := strings.Replace(tt.text, "|", "", 1)
		c := l.Complete(text, cursor)
		var got []string
		for _, p := range c.Items {
			got = append(got, p.Text)
		}
		want := strings.Fields(tt.first)
		var found []string
		for _, g := range got {
			if slices.Contains(want, g) {
				found = append(found, g)
			}
		}
		if !slices.Equal(found, want) || len(want) == 0 && len(got) > 0 {
			t.Errorf("%s (-got +want)\n-%v\n+%v", tt.text, got, want)
		}
		if place := fmt.Sprintf("%d-%d", c.From, c.To); place != tt.place {
			t.Errorf("%s: replaces %s, want %s", tt.text, place, tt.place)
		}
	}
}

// What is proposed can be read: put in its place, the filter is no worse.
func FuzzComplete(f *testing.F) {
	for _, s := range []string{"", "app = ", "conn_state in (S0, ", "last 7d and ho", "dns_names has 'x", "protocol in (tcp, 'u", "\xff", "((("} {
		f.Add(s, len(s))
	}
	l := New()
	f.Fuzz(func(t *testing.T, text string, cursor int) {
		c := l.Complete(text, cursor)
		if c.From < 0 || c.To < c.From || c.To > len(text) {
			t.Fatalf("place %d to %d of %d", c.From, c.To, len(text))
		}
		if len(c.Items) > maxProposals {
			t.Fatalf("%d proposals", len(c.Items))
		}
	})
}
