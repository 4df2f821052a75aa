package dpi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

func TestServices(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own.tsv")
	if err := os.WriteFile(own, []byte("# ours\n*.corp.example\tintranet\ngithub.com -\n10.0.0.0/8  lan\n10.1.0.0/16\tlab\n2001:db8::1 one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := LoadServices(own)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"www.YouTube.com": "youtube", "youtube.com.": "youtube", "notyoutube.com": "", "youtube.com.evil.test": "", "a.b.corp.example": "intranet",
		"corp.example": "intranet", "github.com": "", "api.github.com": "", "": "", "com": "", "dns.google": "google_dns", "mail.google.com": "gmail",
	} {
		if got := s.ByName(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	addr := func(last ...byte) (a flow.Addr) { copy(a[10:], append([]byte{0xff, 0xff}, last...)); return a }
	if s.ByAddr(addr(10, 2, 0, 1)) != "lan" || s.ByAddr(addr(10, 1, 0, 1)) != "lab" || s.ByAddr(addr(11, 0, 0, 1)) != "" {
		t.Error("prefixes: the longest that matches decides")
	}
	var none *Services
	if none.ByName("youtube.com") != "" || none.ByAddr(addr(10, 0, 0, 1)) != "" {
		t.Error("nil knows nothing")
	}
	for _, wrong := range []string{"a.b", "a.b c d", "1.2.3.4/33 x", "a/b x"} {
		if err := os.WriteFile(own, []byte("ok.test fine\n"+wrong+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadServices(own); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestGeneratedNames(t *testing.T) {
	for name, want := range map[string]bool{
		"www.wikipedia.org": false, "stackoverflow.com": false, "xjkqzvwprtlm.com": true, "a.qxzkvbnwtrpl.co.uk": true, "d1x7k2m9q4zz.net": true,
		"googleusercontent.com": false, "ec2-54-1-2-3.compute.amazonaws.com": false, "xn--mnchen-3ya.de": false, "kubernetes": false, "1.0.0.10.in-addr.arpa": false,
		"office365.com": false, "windowsupdate.com": false,
	} {
		if got := generated(name); got != want {
			t.Errorf("%s: generated %v", name, got)
		}
	}
}
