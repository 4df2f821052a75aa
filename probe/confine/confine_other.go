//go:build !linux

package confine

import "runtime"

// Resumed is false: here no program confines itself.
func Resumed() (state []byte, ok bool) { return nil, false }

// Apply only says, in the report and the log, that nothing is applied: the
// means are Linux's.
func Apply(cfg Config, _ []byte, _ []int) (Report, error) {
	no := "needs Linux, this is " + runtime.GOOS
	r := Report{Capabilities: no, NoNewPrivs: no, Landlock: no, Seccomp: no}
	r.log(cfg.Log)
	return r, nil
}
