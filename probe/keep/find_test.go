package keep

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
)

// TestWorkers merges what several goroutines kept at the same time.
func TestWorkers(t *testing.T) {
	cfg := testConfig(t)
	frames := numbered(4000, 100)
	r := openRing(t, cfg)
	var wait sync.WaitGroup
	for n := range 4 {
		wait.Go(func() {
			w := r.Writer(n)
			w.Wait = true
			for i := n; i < len(frames); i += 4 {
				frames[i].add(w)
			}
			w.Close()
		})
	}
	wait.Wait()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openRing(t, cfg)
	same(t, "all", found(t, r, Query{}), frames)
	same(t, "a time", found(t, r, Query{Start: noon.Add(time.Second), End: noon.Add(2 * time.Second)}), frames[1000:2001])
	same(t, "one instant", found(t, r, Query{Start: noon.Add(7 * time.Millisecond), End: noon.Add(7 * time.Millisecond)}), frames[7:8])
	if got := found(t, r, Query{Start: noon.Add(time.Hour)}); got != nil {
		t.Errorf("%d packets of later", len(got))
	}
}

// TestWhileWriting asks while packets come and go: what is given is whole, in order
// and from one stretch.
func TestWhileWriting(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxBytes = 1 << 20
	r := openRing(t, cfg)
	frames := numbered(12000, 400)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := r.Writer(0)
		defer w.Close()
		w.Wait = true
		for i := range frames {
			frames[i].add(w)
		}
	}()
	for asking := true; asking; {
		select {
		case <-done:
			asking = false
		default:
		}
		got := found(t, r, Query{})
		for i := 1; i < len(got); i++ {
			if got[i].Time <= got[i-1].Time {
				t.Fatalf("packet %d is before the one before it", i)
			}
		}
		if s := r.Stats(); s.DamagedBlocks > 0 {
			t.Fatalf("%d damaged blocks", s.DamagedBlocks)
		}
	}
	<-done
}

// TestBackwards keeps packets whose times jump, as merged captures have them.
func TestBackwards(t *testing.T) {
	frames := numbered(3000, 60)
	rand.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
	cfg := testConfig(t)
	s := fill(t, cfg, frames)
	same(t, "all", found(t, openRing(t, cfg), Query{}), inOrder(frames))
	if s.WrittenBlocks > 100 { // a sixteenth of a block is the least
		t.Errorf("%d blocks for %d packets", s.WrittenBlocks, len(frames))
	}
}

func TestLimits(t *testing.T) {
	frames := numbered(100, 100) // 142 octets
	cfg := testConfig(t)
	fill(t, cfg, frames)
	r := openRing(t, cfg)
	for _, c := range []struct {
		name    string
		lim     Limits
		packets uint64
		more    bool
	}{
		{"none", Limits{}, 100, false},
		{"packets", Limits{Packets: 10}, 10, true},
		{"just enough packets", Limits{Packets: 100}, 100, false},
		{"bytes", Limits{Bytes: 24 + 10*158}, 10, true},
		{"a byte less", Limits{Bytes: 24 + 10*158 - 1}, 9, true},
		{"just enough bytes", Limits{Bytes: 24 + 100*158}, 100, false},
	} {
		var out bytes.Buffer
		res, err := r.Find(context.Background(), Query{}, &out, c.lim)
		if err != nil || res.Packets != c.packets || res.Truncated != c.more || res.Bytes != uint64(out.Len()) ||
			c.lim.Bytes > 0 && uint64(out.Len()) > c.lim.Bytes {
			t.Errorf("%s: %+v, %v, %d bytes", c.name, res, err, out.Len())
		}
		same(t, c.name, reread(t, out.Bytes()), frames[:c.packets])
	}
	if _, err := r.Find(context.Background(), Query{}, &bytes.Buffer{}, Limits{Bytes: 30}); err == nil {
		t.Error("no room for a packet, and no error")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Find(ctx, Query{}, &bytes.Buffer{}, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestFormats: one interface gives pcap, several pcapng with their names and link
// types.
func TestFormats(t *testing.T) {
	frames := numbered(300, 300)
	for i := range frames {
		f := &frames[i]
		if f.iface = "eth0"; i%3 == 1 {
			f.iface = "eth1"
		} else if i%3 == 2 {
			f.iface, f.Data, f.LinkType, f.Len = "tun0", f.Data[14:], capture.LinkRaw, f.Len-14
		}
	}
	cfg := testConfig(t)
	fill(t, cfg, frames)
	r := openRing(t, cfg)
	var out bytes.Buffer
	res, err := r.Find(context.Background(), Query{}, &out, Limits{})
	if err != nil || res.Format != FormatPcapng {
		t.Fatalf("%+v, %v", res, err)
	}
	got := reread(t, out.Bytes())
	same(t, "pcapng", got, frames)
	for i := range got {
		if got[i].iface != frames[i].iface {
			t.Fatalf("packet %d is of %s, not of %s", i, got[i].iface, frames[i].iface)
		}
	}
	if capinfos, err := exec.LookPath("capinfos"); err == nil {
		path := filepath.Join(t.TempDir(), "f.pcapng")
		writeFile(t, path, out.Bytes())
		text, err := exec.Command(capinfos, "-c", "-I", path).CombinedOutput()
		if err != nil || !strings.Contains(string(text), "Number of packets = 100") || strings.Count(string(text), "Name = ") != 3 {
			t.Errorf("capinfos: %v: %s", err, text)
		}
	}
	if _, err := r.Find(context.Background(), Query{Format: FormatPcap}, &out, Limits{}); !errors.Is(err, ErrLinkTypes) {
		t.Errorf("pcap: %v", err)
	}
	// An expression that makes no sense on a link type passes nothing there.
	if _, err := capture.CompileFilter("ip", capture.LinkEthernet, 0); err == nil {
		for _, f := range found(t, r, Query{Filter: "ether src 00:00:00:00:00:00"}) {
			if f.LinkType != capture.LinkEthernet {
				t.Fatal("a frame without Ethernet matches an Ethernet address")
			}
		}
	}
}

// TestWithin confines a question.
func TestWithin(t *testing.T) {
	if _, err := capture.CompileFilter("ip", capture.LinkEthernet, 0); err != nil {
		t.Skip(err)
	}
	frames := numbered(100, 100)
	cfg := testConfig(t)
	fill(t, cfg, frames)
	r := openRing(t, cfg)
	for _, c := range []struct {
		filter, within string
		want           []frame
	}{
		{"", "udp src port 10", frames[10:11]},
		{"udp src portrange 10-20", "udp src portrange 20-30", frames[20:21]},
		{"", "udp src portrange 20-30", frames[20:31]},
		{"udp src port 10", "udp src port 11", nil},
		{"ip or ip6", "tcp", nil},
	} {
		same(t, c.filter+" within "+c.within, found(t, r, Query{Filter: c.filter, Within: c.within}), c.want)
	}
}

func TestBadQueries(t *testing.T) {
	r := openRing(t, testConfig(t))
	for _, q := range []Query{
		{Start: noon, End: noon.Add(-1)}, {SrcPort: 70000}, {DstPort: -1}, {Protocol: 256}, {Format: "snoop"},
		{CommunityID: "1:abc"}, {CommunityID: "2:" + strings.Repeat("A", 27) + "="}, {Filter: "this is no filter"},
	} {
		if _, err := r.Find(context.Background(), q, &bytes.Buffer{}, Limits{}); !errors.Is(err, ErrQuery) && !errors.Is(err, capture.ErrNoLibpcap) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// TestParams reads parameters, and writes them so that they are read the same.
func TestParams(t *testing.T) {
	full := Query{Start: noon, End: noon.Add(1500 * time.Millisecond), Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("2001:db8::1"),
		Host: netip.MustParseAddr("::1"), SrcPort: 1, DstPort: 65535, Protocol: 17, CommunityID: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", Filter: "tcp[13] & 2 != 0",
		Format: FormatPcapng}
	for _, c := range []struct {
		in    string
		want  Query
		wrong string
	}{
		{"", Query{}, ""},
		{full.Values().Encode(), full, ""},
		{"start=1777636800.25&proto=TCP&src=::ffff:10.0.0.1", Query{Start: noon.Add(250 * time.Millisecond), Protocol: 6, Src: netip.MustParseAddr("10.0.0.1")}, ""},
		{"start=2026-05-01T14:00:00%2B02:00", Query{Start: noon}, ""},
		{"community_id=1:LQU9qZlK+B5F3KDmev6m5PMibrg=", Query{CommunityID: "1:LQU9qZlK+B5F3KDmev6m5PMibrg="}, ""},
		{"src=", Query{}, ""},
		{"source=10.0.0.1", Query{}, `"source" is not one of start, end, src`},
		{"src=10.0.0.1&src=10.0.0.2", Query{}, "src is given 2 times"},
		{"src=example.org", Query{}, "src: "},
		{"sport=0", Query{}, "sport: "},
		{"proto=tpc", Query{}, "proto: "},
		{"start=yesterday", Query{}, `start: "yesterday" is not a time`},
		{"filter=" + strings.Repeat("a", 5000), Query{}, "longer than 4096"},
	} {
		v, err := url.ParseQuery(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseQuery(v)
		if c.wrong != "" {
			if !errors.Is(err, ErrQuery) || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v", c.in, err)
			}
			continue
		}
		if err != nil || !got.Start.Equal(c.want.Start) || !got.End.Equal(c.want.End) {
			t.Errorf("%s: %+v, %v", c.in, got, err)
		}
		got.Start, got.End, c.want.Start, c.want.End = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: (-got +want)\n-%+v\n+%+v", c.in, got, c.want)
		}
	}
}

// FuzzParams: whatever a request says, it is refused or read, and read again.
func FuzzParams(f *testing.F) {
	f.Add("start=1777636800.25&proto=TCP&src=::ffff:10.0.0.1")
	f.Add("community_id=1:LQU9qZlK+B5F3KDmev6m5PMibrg=&format=pcap")
	f.Fuzz(func(t *testing.T, in string) {
		v, err := url.ParseQuery(in)
		if err != nil {
			return
		}
		q, err := ParseQuery(v)
		if err != nil {
			return
		}
		again, err := ParseQuery(q.Values())
		if err != nil || !reflect.DeepEqual(again.Values(), q.Values()) {
			t.Fatalf("%q: %+v, then %+v: %v", in, q, again, err)
		}
		q.Filter = ""
		_, _ = newMatcher(q)
	})
}
