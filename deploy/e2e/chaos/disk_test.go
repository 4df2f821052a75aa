package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The disk of ClickHouse: one of its own, of memory, where this may be mounted.
const (
	diskBytes   = 1400 << 20
	keepFree    = 128 << 20 // the server refuses below 5/4 of it
	diskReserve = 220 << 20 // the collectors stop before that
)

// mountDisk gives ClickHouse a disk that can be filled.
func (r *rig) mountDisk(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tapwatch-chaos", dir, "tmpfs", 0, "size="+strconv.Itoa(diskBytes)); err != nil {
		r.noDisk = fmt.Sprintf("needs root to mount a disk of its own (%v)", err)
		return nil
	}
	r.disk = dir
	r.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			r.t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return nil
}

func ownDisk(r *rig) string { return r.noDisk }

// fillDisk takes the room away until the collectors stop to insert, and, where
// all is wanted, then the rest too; after a while there is room again.
func (r *rig) fillDisk(all bool) error {
	filler := filepath.Join(r.disk, "filler")
	f, err := os.Create(filler)
	if err != nil {
		return errMissed
	}
	defer os.Remove(filler)
	defer f.Close()
	leave := func(bytes int64) error {
		var st syscall.Statfs_t
		if err := syscall.Statfs(r.disk, &st); err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		more := int64(st.Bavail)*st.Bsize - bytes
		if more <= 0 {
			return nil
		}
		if err := syscall.Fallocate(int(f.Fd()), 0, info.Size(), more); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("fill the disk: %w", err)
		}
		return nil
	}
	before := r.metric("store_reserve_waits_total")
	if err := leave(keepFree * 3 / 2); err != nil {
		return err
	}
	r.more()
	if err := r.comesOff(15*time.Second, func() bool { return r.metric("store_reserve_waits_total") > before }); err != nil {
		return err
	}
	if all {
		wait(context.Background(), 3*time.Second) // merges that had their room end
		if err := leave(0); err != nil {
			return err
		}
	}
	wait(context.Background(), 2*time.Second)
	return nil
}

// checkParts has ClickHouse read all parts there are.
func (r *rig) checkParts(f *findings) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for _, table := range []string{"flows", "batches"} {
		var good uint8
		if err := r.db.QueryRow(ctx, "CHECK TABLE "+table+" SETTINGS check_query_single_value_result = 1").Scan(&good); err != nil {
			return fmt.Errorf("check table %s: %w", table, err)
		}
		if good != 1 {
			f.note("table %s has bad parts", table)
		}
	}
	return nil
}

// tokenLog is where a table keeps the tokens that it knows.
const tokenLog = "store/*/*/deduplication_logs/*.txt"

// canTrace: strace changes what the kernel answers.
func canTrace(*rig) string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	if _, err := exec.LookPath("strace"); err != nil {
		return "needs strace"
	}
	return ""
}

// inject makes one of ClickHouse's next system calls fail, on the files of the
// pattern where there is one.
func (r *rig) inject(calls, how, pattern string) error {
	pid := r.house.PID()
	if pid == 0 {
		return errMissed
	}
	out := filepath.Join(r.dir, "strace")
	os.Remove(out)
	args := []string{"-f", "-qq", "-o", out, "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + how + ":when=1", "-p", strconv.Itoa(pid)}
	if pattern != "" {
		files, err := filepath.Glob(filepath.Join(r.dir, "clickhouse", "data", pattern))
		if err != nil {
			return err
		}
		for _, name := range files {
			args = append(args, "-P", name)
		}
		if len(files) == 0 {
			return errMissed
		}
	}
	cmd := exec.Command("strace", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start strace: %w", err)
	}
	r.more()
	err := r.comesOff(8*time.Second, func() bool {
		text, _ := os.ReadFile(out)
		return strings.Contains(string(text), "INJECTED") || r.house.PID() != pid // who is killed by it leaves no word
	})
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait() // it ends with the signal it was sent
	return err
}
