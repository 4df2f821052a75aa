package keep

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childDir, when set, makes the test binary keep packets in that directory until it
// is killed.
const childDir = "TAPWATCH_KEEP_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir, os.Getenv(childDir+"_FROM"), os.Getenv(childDir+"_KEY"))
		return
	}
	os.Exit(m.Run())
}

func crashConfig(dir, key string) Config {
	cfg := DefaultConfig()
	cfg.Dir, cfg.KeyFile = dir, key
	cfg.MaxBytes, cfg.MinFree, cfg.MaxAge, cfg.CutoffBytes = 4<<30, 0, 0, 0
	cfg.BlockBytes, cfg.SegmentBytes = 64<<10, 512<<10
	return cfg
}

// child keeps numbered packets and tells how many of them are on disk.
func child(dir, from, key string) {
	first, _ := strconv.Atoi(from)
	r, err := Open(crashConfig(dir, key), quiet(), nil)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	w := r.Writer(0)
	w.Wait = true
	for i := first; ; i++ {
		f := crashFrame(i)
		f.add(w)
		if i%64 == 0 {
			fmt.Println(r.Stats().KeptPackets)
		}
	}
}

// crashFrame is packet i of all children.
func crashFrame(i int) frame {
	f := datagram("10.0.0.1", "10.0.0.2", uint16(i%60000), 53, 300, noon.Add(time.Duration(i)*time.Microsecond))
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	for j := 42; j < 200; j++ {
		f.Data[j] = byte(rng.Uint32())
	}
	return f
}

// TestKill kills a process that keeps packets, again and again: what it said to be
// on disk is there, in order and without a gap.
func TestKill(t *testing.T) {
	for _, key := range []string{"", keyFile(t)} {
		dir := t.TempDir()
		have := 0
		for range 10 {
			said := kill(t, dir, have, key)
			r, err := Open(crashConfig(dir, key), quiet(), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := found(t, r, Query{Start: time.Unix(0, crashFrame(have).Time)})
			if len(got) < said {
				t.Fatalf("%d packets after the kill, %d were on disk before it", len(got), said)
			}
			for i := range got {
				same(t, "after the kill", got[i:i+1], []frame{crashFrame(have + i)})
			}
			have += len(got)
			if s := r.Stats(); s.KeptPackets != 0 || s.Segments == 0 && have > 0 {
				t.Fatalf("%+v", s)
			}
			if s := r.Stats(); s.DamagedBlocks > 0 {
				t.Fatalf("%d blocks are damaged", s.DamagedBlocks)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		r := openRing(t, crashConfig(dir, key))
		if n := len(found(t, r, Query{})); n != have || n == 0 {
			t.Errorf("%d packets in the end, %d were found after the kills", n, have)
		}
	}
}

// kill starts a child, kills it after a moment, and returns what it last said.
func kill(t *testing.T, dir string, from int, key string) (said int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childDir+"_FROM="+strconv.Itoa(from), childDir+"_KEY="+key)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 1 + rand.IntN(20); n > 0 && lines.Scan(); n-- {
		if strings.HasPrefix(lines.Text(), "error") {
			t.Fatal(lines.Text())
		}
	}
	timer := time.AfterFunc(rand.N(20*time.Millisecond), func() { cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		said, _ = strconv.Atoi(lines.Text())
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // killed
	return said
}
