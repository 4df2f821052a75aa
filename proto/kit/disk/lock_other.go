//go:build !linux && !windows && !darwin && !freebsd

package disk

import (
	"errors"
	"os"
	"syscall"
)

// Lock does not lock here: one process per directory is the operator's duty.
func Lock(*os.File) error { return nil }

// Full reports whether err says that the device or a quota is full.
func Full(err error) bool { return errors.Is(err, syscall.ENOSPC) }
