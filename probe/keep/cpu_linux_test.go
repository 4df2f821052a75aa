package keep

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// threadTime locks the benchmark to its thread and returns a function that reports
// the processor time the thread has had since, as cpu-ns/op: what the clock on the
// wall says depends on who else is at the machine.
func threadTime(b *testing.B) func(*testing.B) {
	runtime.LockOSThread()
	start := threadClock()
	return func(b *testing.B) {
		b.ReportMetric(float64(threadClock()-start)/float64(b.N), "cpu-ns/op")
		runtime.UnlockOSThread()
	}
}

func threadClock() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}
