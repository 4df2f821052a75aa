//go:build !linux

package keep

import (
	"errors"
	"os"
	"syscall"
)

func fdatasync(f *os.File) error { return f.Sync() }

// available is unknown here.
func available(string) (int64, bool) { return 0, false }

// lockFile does not lock here: one process per directory is the operator's duty.
func lockFile(*os.File) error { return nil }

func background() {}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
