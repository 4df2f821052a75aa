package keep

import "golang.org/x/sys/unix"

// background lets the calling thread yield to those that capture. A system that
// refuses it works all the same.
func background() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 10) }
