package capture

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Pin keeps the calling goroutine on one operating system thread, and that on
// one processor, numbered from 0 as in /proc/cpuinfo, until release is called
// by the same goroutine. A worker that stays where its ring and flow table are
// in the cache, and where the card's interrupts for its queue are handled, costs
// less per packet. It needs no privilege, but the processor must be among those
// that the process may use (cgroup, taskset). Other goroutines do not run on
// the thread meanwhile.
func Pin(cpu int) (release func(), err error) {
	runtime.LockOSThread()
	var was, set unix.CPUSet
	if err = unix.SchedGetaffinity(0, &was); err == nil {
		set.Set(cpu)
		if set.Count() == 0 {
			err = unix.EINVAL
		} else {
			err = unix.SchedSetaffinity(0, &set)
		}
	}
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("pin a worker to processor %d: %w", cpu, err)
	}
	return func() {
		// Other goroutines will run on this thread.
		unix.SchedSetaffinity(0, &was)
		runtime.UnlockOSThread()
	}, nil
}
