package confine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// resumeKey names the environment variable with the number of the descriptor
// that holds the state.
const resumeKey = "TAPWATCH_CONFINED"

// maxState bounds the state in bytes: 256 rings, each with a filter.
const maxState = 64 << 20

// Resumed says that this program was executed by Apply, with the state that was
// given there. The rights that a thread can give up are gone by then. It may be
// called more than once.
func Resumed() (state []byte, ok bool) {
	fd, err := strconv.Atoi(os.Getenv(resumeKey))
	if err != nil || fd < 3 {
		return nil, false
	}
	if v, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || v != 1 {
		return nil, false // someone else set the variable
	}
	unix.CloseOnExec(fd)
	state = make([]byte, 0, 4096)
	for len(state) < maxState {
		state = append(state, make([]byte, 4096)...)[:len(state)]
		n, err := unix.Pread(fd, state[len(state):cap(state)], int64(len(state)))
		if err != nil || n == 0 {
			return state, err == nil
		}
		state = state[:len(state)+n]
	}
	return nil, false
}

// Apply gives the rights up, in two steps. The first time it executes the
// program again with the same arguments, and returns only if that fails; the
// process is then as it was before. In the program that Resumed, it shuts out
// system calls and returns the report. It must be
// called once, after everything is open that needs rights and before anything
// is started that would not survive: the first step keeps nothing but the
// process number, standard input, output and error, and descriptors.
func Apply(cfg Config, state []byte, descriptors []int) (Report, error) {
	if _, resumed := Resumed(); resumed {
		r := Report{UID: os.Getuid(), Landlock: os.Getenv(landlockKey), LandlockLevel: landlockLevel()}
		r.Capabilities, r.NoNewPrivs = threads()
		if err := filterCalls(); err != nil {
			r.Seccomp = err.Error()
		}
		r.log(cfg.Log)
		return r, nil
	}
	if err := restart(cfg, state, descriptors); err != nil {
		return Report{}, fmt.Errorf("give up privileges: %w", err)
	}
	return Report{}, nil // not reached: another program runs
}

// landlockKey names the environment variable with the reason why landlock does
// not hold.
const landlockKey = "TAPWATCH_CONFINED_LANDLOCK"

// restart executes the program from a thread without rights.
func restart(cfg Config, state []byte, descriptors []int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	who, err := lookup(cfg.User)
	if err != nil {
		return err
	}
	for _, d := range cfg.Write {
		if err := makeDir(d, who); err != nil {
			return err
		}
	}
	box, unboxed := landlock(cfg, self)
	if unboxed == nil {
		defer unix.Close(box)
	}
	fd, err := unix.MemfdCreate("tapwatch", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("keep the state: %w", err)
	}
	defer unix.Close(fd)
	if len(state) > maxState {
		return fmt.Errorf("keep the state: more than %d bytes", maxState)
	}
	if _, err := (&memory{fd: fd}).Write(state); err != nil {
		return fmt.Errorf("keep the state: %w", err)
	}
	env := append(without(os.Environ(), resumeKey, landlockKey), resumeKey+"="+strconv.Itoa(fd))
	if unboxed != nil {
		env = append(env, landlockKey+"="+unboxed.Error())
	}

	failed := make(chan error)
	go func() {
		// Never unlocked: if the program goes on, the runtime ends this thread,
		// whose rights are gone, with the goroutine.
		runtime.LockOSThread()
		failed <- func() error {
			if err := surrender(who, box, unboxed == nil); err != nil {
				return err
			}
			for _, d := range append(descriptors, fd) {
				if _, err := unix.FcntlInt(uintptr(d), unix.F_SETFD, 0); err != nil {
					return fmt.Errorf("keep descriptor %d: %w", d, err)
				}
			}
			err := unix.Exec(self, os.Args, env)
			for _, d := range append(descriptors, fd) {
				unix.CloseOnExec(d)
			}
			return fmt.Errorf("execute %s again: %w", self, err)
		}()
	}()
	return <-failed
}

// makeDir makes a directory that is missing, for the user to come.
func makeDir(path string, who *account) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if who == nil {
		return nil
	}
	return os.Chown(path, who.uid, who.gid)
}

func without(env []string, keys ...string) (kept []string) {
next:
	for _, e := range env {
		for _, k := range keys {
			if strings.HasPrefix(e, k+"=") {
				continue next
			}
		}
		kept = append(kept, e)
	}
	return kept
}

// memory writes all of a slice to a descriptor.
type memory struct{ fd int }

func (m *memory) Write(b []byte) (n int, err error) {
	for n < len(b) {
		k, err := unix.Write(m.fd, b[n:])
		if err != nil {
			return n, err
		}
		if k == 0 {
			return n, io.ErrShortWrite
		}
		n += k
	}
	return n, nil
}

// surrender takes all rights from the calling thread. What needs a right comes
// before that right goes.
func surrender(who *account, box int, boxed bool) error {
	// Without the bounding set, root too would execute without capabilities.
	// Who may not change it, has no_new_privs for that.
	for c := uintptr(0); c <= lastCapability; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			break // EPERM: no CAP_SETPCAP; EINVAL: beyond this kernel's last
		}
	}
	if who != nil {
		if err := who.become(); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("clear the ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if boxed {
		if _, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(box), 0, 0); e != 0 {
			return fmt.Errorf("enter the landlock domain: %w", e)
		}
	}
	return nil
}

// lastCapability is beyond CAP_LAST_CAP of every kernel so far.
const lastCapability = 63

// threads looks at every thread of the process and says what is still there.
func threads() (capabilities, noNewPrivs string) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		unknown := "cannot be read: " + err.Error()
		return unknown, unknown
	}
	for _, t := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + t.Name() + "/status")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			capabilities = "cannot be read: " + err.Error()
			continue
		}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			switch name {
			case "CapInh", "CapPrm", "CapEff", "CapAmb":
				if strings.Trim(value, "0") != "" {
					capabilities = "thread " + t.Name() + " has " + name + " " + value
				}
			case "NoNewPrivs":
				if value != "1" {
					noNewPrivs = "thread " + t.Name() + " is without"
				}
			}
		}
	}
	return capabilities, noNewPrivs
}
