// Package confine takes from the probe, once its rings are open, every right
// that it no longer needs: all capabilities, the way to new ones, files other
// than its own (landlock), and system calls other than those of reading,
// writing and networking (seccomp).
//
// In comes a Config with the files to keep; out goes a Report of what holds.
// Capabilities and landlock belong to single threads, and a Go program cannot
// reach those that it already has. So the process executes itself: the thread
// that does so gives its rights up first, and all threads of the program that
// starts anew, under the same process number, have come from it. Rings and
// other descriptors are handed over:
//
//	state, resumed := confine.Resumed()
//	if resumed {
//		sources, err = capture.Inherit(state, log)
//	} else {
//		sources, err = capture.OpenLive(…)
//	}
//	state, keep, err := capture.Handover(sources) // unless resumed
//	report, err := confine.Apply(cfg, state, keep) // the first time it does not return
//
// What a kernel cannot do is left out, and said in the report and the log.
package confine

import (
	"log/slog"
	"strings"
)

// Config says what the program keeps.
type Config struct {
	// Read lists files and directories that are read later: configuration,
	// keys, certificates, captures. What does not exist is left out. A file
	// that is replaced by another of its name, as editors and Kubernetes do,
	// is another file: name its directory instead.
	Read []string
	// Write lists directories that are read and written with all that is in
	// them: spool, packet ring. Those that do not exist are made, with mode 0700
	// and owned by User.
	Write []string
	// User is whom to become when started as root: a name or a number. ""
	// stays root, which without capabilities is a user like others, but owns
	// root's files. Existing directories of Write must be the user's.
	User string
	// Log gets one line with the report; nil: none.
	Log *slog.Logger
}

// Report says what was applied. Each field is "" if it holds for all threads,
// otherwise why not.
type Report struct {
	Capabilities  string // none left, effective, permitted, inheritable or ambient
	NoNewPrivs    string // no program that it could execute gains rights
	Landlock      string // files
	Seccomp       string // system calls
	UID           int    // who the process is
	LandlockLevel int    // the kernel's ABI version, 0: none
}

// missing says what was not applied, and why not.
func (r Report) missing() (list []string) {
	for _, m := range [][2]string{{"capabilities", r.Capabilities}, {"no_new_privs", r.NoNewPrivs}, {"landlock", r.Landlock}, {"seccomp", r.Seccomp}} {
		if m[1] != "" {
			list = append(list, m[0]+": "+m[1])
		}
	}
	return list
}

func (r Report) log(log *slog.Logger) {
	if log == nil {
		return
	}
	if missing := r.missing(); len(missing) > 0 {
		log.Warn("the process could not be confined in every way", "missing", strings.Join(missing, "; "), "uid", r.UID)
		return
	}
	log.Info("the process is confined: no capabilities, no new privileges, only its own files and the system calls it needs", "uid", r.UID, "landlock_abi", r.LandlockLevel)
}
