package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// Sync waits until the bytes and the length of f are on the device.
func Sync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// Free is what the file system of dir has left for us, in bytes; false: unknown.
func Free(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * st.Bsize, true
}
