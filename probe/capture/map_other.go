//go:build !linux && !darwin && !freebsd

package capture

import (
	"errors"
	"os"
)

// mapFile always fails here: files are streamed.
func mapFile(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapFile([]byte) error { return nil }

func releasePages([]byte) {}

func populatePages([]byte) {}
