//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// peak is the greatest resident set of an ended process, in octets. On Linux it
// is not below that of the process which started it.
func peak(p *os.ProcessState) int64 {
	u, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) << 10
}
