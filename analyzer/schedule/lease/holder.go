package lease

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// holder names this process: host, process id, where that id is of, and a random
// part.
func holder() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s/%d/%s/%s", strings.ReplaceAll(host, "/", "-"), os.Getpid(), place(), rand.Text()[:8])
}

// place names the kernel's run and the process id namespace, so that a process id
// means the same to whoever has the same; empty where that is not known.
func place() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, err2 := os.Readlink("/proc/self/ns/pid")
	if errors.Join(err, err2) != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(string(boot) + space))
	return hex.EncodeToString(sum[:6])
}

// dead says whether a holder is a process of this machine that is no more: its
// lease need not be waited for. When in doubt it is not.
func dead(name string) bool {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[2] == "" || parts[2] != place() {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil || pid <= 0 {
		return false
	}
	if pid == os.Getpid() {
		return false // another Lease of this process
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	err = p.Signal(syscall.Signal(0))
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}
