package local

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// parentPipe is the descriptor on which a child watches its parent: exec.Cmd
// numbers ExtraFiles from 3 on.
const parentPipe = 3

// libraryResult is the beginning of `struct local_result_v2` of libchdb
// (chdb.h), which query_stable_v2 returns; the library owns the strings.
type libraryResult struct {
	_       *byte          // buf
	_       uintptr        // len
	_       unsafe.Pointer // _vec
	_       float64        // elapsed
	_       uint64         // rows_read
	_       uint64         // bytes_read
	message *byte          // error_message; nil after a clean end
}

// ClickHouseChild runs ClickHouse in this process until its end: args are the
// program's arguments, of which those after "--" are clickhouse-local's. The
// library is the one the environment names, else what FindClickHouse finds.
// It returns nil after a clean end. The process is of no other use afterwards:
// the library has replaced its signal handlers.
func ClickHouseChild(args []string) error {
	os.Unsetenv(envClickHouseChild)
	_, library, err := FindClickHouse()
	if p := os.Getenv(envLibrary); p != "" {
		library, err = p, nil
	}
	if err != nil {
		return err
	}
	if library == "" {
		return fmt.Errorf("load clickhouse library: %s is not set, and a clickhouse binary needs no child of ours", envLibrary)
	}
	if os.Getenv(envParentPipe) == "1" {
		os.Unsetenv(envParentPipe)
		go dieWithParent(os.NewFile(parentPipe, "parent"))
	}
	return runLibrary(library, childArgs(args))
}

// envParentPipe says that parentPipe is open; a person who runs the child by
// hand has another file there, or none.
const envParentPipe = "TAPWATCH_PARENT_PIPE"

// runLibrary calls ClickHouse's own entry point with args.
func runLibrary(library string, args []string) error {
	// The query runs on this thread; its thread-local state must not move.
	runtime.LockOSThread()
	lib, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("load clickhouse library %s: %w: reinstall it with `npm ci --prefix deploy/tapwatch`", library, err)
	}
	sym, err := purego.Dlsym(lib, "query_stable_v2")
	if err != nil {
		return fmt.Errorf("load clickhouse library %s: %w: this version lacks the entry point, use the one of deploy/tapwatch/package.json", library, err)
	}
	var query func(argc int32, argv unsafe.Pointer) *libraryResult
	purego.RegisterFunc(&query, sym)

	var pin runtime.Pinner
	defer pin.Unpin()
	argv := make([]*byte, 0, len(args)+2)
	for _, a := range append([]string{"clickhouse"}, args...) {
		if strings.IndexByte(a, 0) >= 0 {
			return errors.New("run clickhouse: an argument has a zero byte")
		}
		p := &append([]byte(a), 0)[0]
		pin.Pin(p)
		argv = append(argv, p)
	}
	argc := len(argv)
	argv = append(argv, nil) // C's argv ends with a null pointer
	pin.Pin(&argv[0])
	res := query(int32(argc), unsafe.Pointer(&argv[0]))
	if res == nil || res.message == nil {
		return nil
	}
	return fmt.Errorf("run clickhouse: %s", cString(res.message))
}

// cString copies a string that ends with a zero byte.
func cString(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return strings.Clone(unsafe.String(p, n))
}
