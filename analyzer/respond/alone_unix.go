//go:build unix

package respond

import (
	"os/exec"
	"syscall"
)

// alone gives a program a process group of its own, and kills all of it.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
