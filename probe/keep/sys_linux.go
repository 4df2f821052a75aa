package keep

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fdatasync waits until the bytes and the length of f are on the device.
func fdatasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// available is what the file system of dir has left for us, in bytes.
func available(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * st.Bsize, true
}

func lockFile(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("another process uses it: stop that one, or configure another directory: %w", err)
		}
		return err
	}
	return nil
}

// background lets the calling thread yield to those that capture. A system that
// refuses it works all the same.
func background() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 10) }

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
