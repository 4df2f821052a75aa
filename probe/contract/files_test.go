package contract

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/probe/capture"
)

// soundPcap is a capture of three packets.
func soundPcap() []byte {
	var b bytes.Buffer
	w := newWire(&b, 1)
	for i := range 3 {
		w.udp(base+int64(i), attacker, victim, 40_000, 53, []byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"))
	}
	return b.Bytes()
}

// soundPcapng is the same as pcapng, with the blocks that there are: section,
// interface with options, enhanced, simple and old packets, names, statistics.
func soundPcapng() []byte {
	var out []byte
	u32 := binary.LittleEndian.AppendUint32
	block := func(kind uint32, body []byte) {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		n := uint32(12 + len(body))
		out = u32(append(u32(u32(out, kind), n), body...), n)
	}
	pcap := soundPcap()
	frame := pcap[24+16 : 24+16+61]
	n := uint32(len(frame))
	block(0x0a0d0d0a, append(u32(nil, 0x1a2b3c4d), 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255))
	block(1, append(u32([]byte{1, 0, 0, 0}, 0), 2, 0, 4, 0, 'e', 't', 'h', '0', 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0))
	block(6, append(u32(u32(u32(u32(u32(nil, 0), 0x188), 1), n), n), frame...))
	block(3, append(u32(nil, n), frame...))
	block(2, append(u32(u32(u32(u32(append([]byte{0, 0}, 0, 0), 0x188), 1), n), n), frame...))
	block(4, []byte{1, 0, 6, 0, 10, 0, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0})
	block(5, append(u32(u32(u32(nil, 0), 0x188), 1), 4, 0, 8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	block(6, append(u32(u32(u32(u32(u32(nil, 0), 0x188), 1), n), n), frame...))
	return out
}

// refuses sends a file that lies through the whole probe, and says what is wrong
// about how that went. spared is what a sound file of the size allocates.
func refuses(path string, spared uint64) (err, told error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, told := flowsOf(whole(), probe.FormatNone, path)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > spared+32<<20 {
		return fmt.Errorf("%d octets allocated", used), told
	}
	if err := closed(n); err != nil {
		return err, told
	}
	if told == nil {
		return nil, nil
	}
	known := errors.Is(told, capture.ErrCorrupt) || errors.Is(told, capture.ErrNotCapture) || errors.Is(told, capture.ErrTruncatedFile)
	if text := told.Error(); !known || !strings.Contains(text, path) || strings.Contains(text, "\n") {
		return fmt.Errorf("the error is %q", text), told
	}
	return nil, told
}

// TestLengthFields is R20: every field of pcap and pcapng is given values that
// lie, 16 and 32 bits wide, at every place. The probe takes under 32 MiB for it,
// and either counts what is there or says in a line what is wrong.
func TestLengthFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lies.pcap")
	files, errs := 0, 0
	for name, sound := range map[string][]byte{"pcap": soundPcap(), "pcapng": soundPcapng()} {
		if err := os.WriteFile(path, sound, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, err := flowsOf(whole(), probe.FormatNone, path)
		runtime.ReadMemStats(&after)
		if want := map[string]uint64{"pcap": 3, "pcapng": 4}[name]; err != nil || n.FlowPackets != want {
			t.Fatalf("%s: the sound file: %v, %+v", name, err, n)
		}
		spared := after.TotalAlloc - before.TotalAlloc
		step := 4
		if full() {
			step = 1
		}
		for at := 0; at+2 <= len(sound); at += step {
			if !full() && name == "pcap" && at > 24+16+60 { // the others are as the first
				break
			}
			for i, v := range []uint32{0xffffffff, 0x7fffffff, 0, 1, 11, 13, 28, 0x7ffffff0, 0x80000000, 0xfffffffc, 0x00ffffff, 61, 4} {
				if !full() && i > 3 {
					break
				}
				m := bytes.Clone(sound)
				if v == 0x00ffffff || at+4 > len(sound) {
					binary.LittleEndian.PutUint16(m[at:], uint16(v))
				} else {
					binary.LittleEndian.PutUint32(m[at:], v)
				}
				if err := os.WriteFile(path, m, 0o600); err != nil {
					t.Fatal(err)
				}
				files++
				wrong, told := refuses(path, spared)
				if wrong != nil {
					t.Errorf("%s, %#x at %d: %v", name, v, at, wrong)
				}
				if told != nil {
					errs++
				}
			}
		}
	}
	t.Logf("%d files, %d of them refused", files, errs)
	if errs < files/20 {
		t.Errorf("only %d of %d files were refused", errs, files)
	}
}

// TestBombs is R20 for the two shortest files that make readers that trust
// lengths allocate gigabytes: as processes, next to one that reads a sound file.
func TestBombs(t *testing.T) {
	pcap, ng := soundPcap(), soundPcapng()
	small := bytes.Clone(pcap[:45])
	binary.LittleEndian.PutUint32(small[24+8:], 1_900_000_000)
	block := bytes.Clone(ng[:77])
	for at := 0; ; { // the first packet's block
		if binary.LittleEndian.Uint32(block[at:]) == 6 {
			binary.LittleEndian.PutUint32(block[at+4:], 0x7fffff00)
			break
		}
		at += int(binary.LittleEndian.Uint32(block[at+4:]))
	}
	dir := t.TempDir()
	peak := func(name string, data []byte) (outcome, string) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return flowsProcess(t, job{Files: []string{path}, Format: "none"}, nil, nil), path
	}
	sound, _ := peak("sound", pcap)
	if sound.PeakRSS == 0 {
		t.Skip("this system does not tell the memory of a process")
	}
	for name, b := range map[string][]byte{"45 octets": small, "77 octets": block} {
		o, path := peak(name, b)
		t.Logf("%s: %d MiB, a sound file %d; %s", name, o.PeakRSS>>20, sound.PeakRSS>>20, o.Err)
		if o.PeakRSS > sound.PeakRSS+32<<20 {
			t.Errorf("%s: %d MiB, a sound file takes %d", name, o.PeakRSS>>20, sound.PeakRSS>>20)
		}
		if !strings.Contains(o.Err, path) || strings.Contains(o.Err, "\n") {
			t.Errorf("%s: the error is %q", name, o.Err)
		}
	}
}

// TestNothingRecovers keeps recovery out of the way of packets: what panics is
// to end the process, so that tests and operators see it.
func TestNothingRecovers(t *testing.T) {
	read := 0
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		read++
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte("= recover()")) {
			t.Errorf("%s recovers from panics", path)
		}
		return err
	})
	if err != nil || read < 100 {
		t.Errorf("%d files read; %v", read, err)
	}
}
