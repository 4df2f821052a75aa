//go:build !linux && !windows && !darwin && !freebsd

package spool

import (
	"errors"
	"os"
	"syscall"
)

func fdatasync(f *os.File) error { return f.Sync() }

// capacity is unknown here.
func capacity(string) int64 { return 0 }

// lockFile does not lock here: one process per directory is the operator's duty.
func lockFile(*os.File) error { return nil }

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
