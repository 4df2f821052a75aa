package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long a start waits for the lock of a directory. A server
// whose parent was killed with -9 holds it until it has noticed (graceAfterParent).
const lockWait = 5 * time.Second

// lockDir creates dir and takes an exclusive flock on dir/lock, which the
// kernel releases when the last process that holds the descriptor is gone, so
// a kill -9 leaves no stale lock. The caller owns the file and closes it.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	if dir == "" {
		return nil, errors.New("open state directory: no directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory %s: %w", dir, err)
	}
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		owner := lockOwner(f)
		f.Close()
		return nil, fmt.Errorf("lock %s: %w%s: stop that instance or choose another state directory", dir, ErrInUse, owner)
	}
	// Only for the message of a second instance: the lock itself is the kernel's.
	if err := f.Truncate(0); err == nil {
		f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// lockOwner is " (pid N)" as the holder wrote it, or nothing.
func lockOwner(f *os.File) string {
	buf := make([]byte, 16)
	n, _ := f.ReadAt(buf, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil || pid <= 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}
