package confine

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Access rights of landlock (Documentation/userspace-api/landlock.rst).
const (
	fileRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE
	dirRead   = fileRead | unix.LANDLOCK_ACCESS_FS_READ_DIR
	fileWrite = fileRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	dirWrite  = dirRead | fileWrite | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REFER
	execute = fileRead | unix.LANDLOCK_ACCESS_FS_EXECUTE
)

// systemFiles is what the Go runtime, the C library, name resolution, TLS,
// filters with names of services, and the process's own metrics read.
var systemFiles = [...]string{
	"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
	"/proc", "/sys/devices", "/sys/class/net", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage",
	"/etc/resolv.conf", "/run/systemd/resolve", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services",
	"/etc/protocols", "/etc/ethers", "/etc/networks", "/etc/mime.types", "/etc/localtime", "/usr/share/zoneinfo",
	"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
	"/dev/urandom", "/dev/random", "/dev/zero",
}

// landlockLevel is the kernel's landlock ABI version, 0 for none.
func landlockLevel() int {
	v, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(v)
}

// handles returns the file rights that a kernel of that level knows.
func handles(level int) uint64 {
	rights := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1)
	if level >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if level >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if level >= 5 {
		rights |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

// landlock makes the set of rules that the program lives under. self is the
// file it is executed from.
func landlock(cfg Config, self string) (ruleset int, err error) {
	level := landlockLevel()
	if level == 0 {
		return -1, errors.New("this kernel has no landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK, and landlock in lsm=)")
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handles(level)}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if level >= 6 { // no signals to, and no abstract sockets of, others
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size = unsafe.Offsetof(attr.Scoped) + unsafe.Sizeof(attr.Scoped)
	}
	fd, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if e != 0 {
		return -1, fmt.Errorf("make a set of rules: %w", e)
	}
	unix.CloseOnExec(int(fd))
	b := box{fd: int(fd), handled: attr.Handled_access_fs}
	b.allow(execute, true, self)
	b.allow(execute, false, interpreter(self))
	b.allow(fileWrite, false, "/dev/null")
	b.allow(dirRead, false, systemFiles[:]...)
	b.allow(dirRead, false, cfg.Read...)
	b.allow(dirWrite, true, cfg.Write...)
	if b.err != nil {
		unix.Close(b.fd)
		return -1, b.err
	}
	return b.fd, nil
}

// box collects rules; err is the first error.
type box struct {
	fd      int
	handled uint64
	err     error
}

// allow lets rights be used on each path and what is beneath; on a file only
// those that a file has. A path that does not exist is an error if it must.
func (b *box) allow(rights uint64, must bool, paths ...string) {
	for _, p := range paths {
		if b.err != nil || p == "" {
			return
		}
		if err := b.rule(rights, p); err != nil && (must || !errors.Is(err, os.ErrNotExist)) {
			b.err = fmt.Errorf("allow %s: %w", p, err)
		}
	}
}

func (b *box) rule(rights uint64, path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileWrite | execute
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights & b.handled, Parent_fd: int32(fd)}
	if _, _, e := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(b.fd), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// interpreter is the dynamic loader that executing the file needs, "" for none
// (System V ABI, PT_INTERP).
func interpreter(file string) string {
	f, err := elf.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(io.LimitReader(p.Open(), unix.PathMax))
			if err != nil {
				return ""
			}
			name, _, _ := strings.Cut(string(b), "\x00")
			return name
		}
	}
	return ""
}
