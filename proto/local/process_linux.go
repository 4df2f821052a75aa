package local

import "syscall"

// childAttr makes the child the leader of its own session, so that Ctrl-C in
// the terminal reaches only us, and lets the kernel end it should the thread
// that started it die. With a terminal on stdin that becomes the controlling one.
func childAttr(terminal bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Setctty: terminal, Ctty: 0, Pdeathsig: syscall.SIGTERM}
}
