package capture

import (
	"fmt"
	"os"
	"syscall"
)

// openPath opens a file, or standard input for "-". A pipe on standard input is
// opened anew, so that reads can time out without making the descriptor that we
// share with other processes non-blocking.
func openPath(path string) (*os.File, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, cause(err)
		}
		return f, nil
	}
	if st, err := os.Stdin.Stat(); err == nil && st.Mode()&os.ModeNamedPipe != 0 {
		if f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", os.Stdin.Fd()), os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
			return f, nil
		}
	}
	return os.Stdin, nil
}
