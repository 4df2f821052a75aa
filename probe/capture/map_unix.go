//go:build linux || darwin || freebsd

package capture

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps size bytes of f for reading from front to back.
func mapFile(f *os.File, size int64) ([]byte, error) {
	if int64(int(size)) != size {
		return nil, errors.New("larger than the address space")
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(m, unix.MADV_SEQUENTIAL) // advice only
	return m, nil
}

func unmapFile(m []byte) error { return unix.Munmap(m) }

// releasePages drops pages of a map from the resident set; they can be read
// again.
func releasePages(m []byte) { _ = unix.Madvise(m, unix.MADV_DONTNEED) }

// populatePages maps the pages of m that are in the page cache or reads them,
// without a fault for each. Advice only: Linux has it since 5.14.
func populatePages(m []byte) { _ = unix.Madvise(m, madvPopulateRead) }
