//go:build linux || darwin

package capture

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/net/bpf"
)

// maxExpr bounds an expression in bytes; maxMessage libpcap's answer.
const (
	maxExpr    = 64 << 10
	maxMessage = 1024
)

// bpfProgram is struct bpf_program of pcap/bpf.h.
type bpfProgram struct {
	length       uint32
	instructions *bpf.RawInstruction // struct bpf_insn has the same layout
}

// libpcapNames are tried in this order: Debian, others, macOS.
func libpcapNames() []string {
	if runtime.GOOS == "darwin" {
		return []string{"libpcap.A.dylib", "/usr/lib/libpcap.A.dylib"}
	}
	return []string{"libpcap.so.0.8", "libpcap.so.1", "libpcap.so"}
}

func openLibpcap() (uintptr, error) {
	var reason error
	for _, name := range libpcapNames() {
		lib, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err == nil {
			return lib, nil
		}
		if reason == nil {
			reason = err
		}
	}
	return 0, fmt.Errorf("%w: capture filters need it: install libpcap0.8 (Debian, Ubuntu), libpcap (Fedora, Alpine, Arch): %v", ErrNoLibpcap, reason)
}

// compileLibpcap asks libpcap for the program of expr.
func compileLibpcap(expr string, link uint16, snaplen int) ([]bpf.RawInstruction, error) {
	if len(expr) > maxExpr || strings.IndexByte(expr, 0) >= 0 {
		return nil, fmt.Errorf("filter: longer than %d bytes or with a zero byte: %w", maxExpr, ErrFilter)
	}
	lib, err := openLibpcap()
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", expr, err)
	}
	defer purego.Dlclose(lib)
	var call [6]uintptr
	for i, name := range []string{"pcap_open_dead", "pcap_compile", "pcap_geterr", "pcap_freecode", "pcap_close"} {
		if call[i], err = purego.Dlsym(lib, name); err != nil {
			return nil, fmt.Errorf("filter %q: this libpcap has no %s: %w", expr, name, ErrNoLibpcap)
		}
	}
	openDead, compile, geterr, freecode, closePcap := call[0], call[1], call[2], call[3], call[4]

	handle, _, _ := purego.SyscallN(openDead, uintptr(dlt(link)), uintptr(snaplen))
	if handle == 0 {
		return nil, fmt.Errorf("filter %q: libpcap gives no handle: %w", expr, ErrFilter)
	}
	defer purego.SyscallN(closePcap, handle)
	text := append([]byte(expr), 0)
	var prog bpfProgram
	// Optimised, with PCAP_NETMASK_UNKNOWN.
	rc, _, _ := purego.SyscallN(compile, handle, uintptr(unsafe.Pointer(&prog)), uintptr(unsafe.Pointer(&text[0])), 1, 0xffffffff)
	runtime.KeepAlive(text)
	if int32(rc) != 0 {
		msg, _, _ := purego.SyscallN(geterr, handle)
		return nil, fmt.Errorf("filter %q: %s: %w", expr, message(msg), ErrFilter)
	}
	defer purego.SyscallN(freecode, uintptr(unsafe.Pointer(&prog)))
	if prog.length > maxProgram {
		return nil, fmt.Errorf("filter %q: it compiles to %d instructions, at most %d are possible: %w", expr, prog.length, maxProgram, ErrFilter)
	}
	return append([]bpf.RawInstruction(nil), unsafe.Slice(prog.instructions, prog.length)...), nil
}

// dlt maps a LINKTYPE value to the DLT value that this system's libpcap uses.
// They differ in few places.
func dlt(link uint16) uint16 {
	switch link {
	case LinkRaw:
		return 12
	case linkATMRFC1483:
		return 11
	}
	return link
}

// message copies the C string at p as one line.
func message(p uintptr) string {
	if p == 0 {
		return "no reason given"
	}
	b := make([]byte, 0, 128)
	for i := 0; i < maxMessage; i++ {
		c := *(*byte)(unsafe.Add(*(*unsafe.Pointer)(unsafe.Pointer(&p)), i))
		if c == 0 {
			break
		}
		if c < ' ' {
			c = ' '
		}
		b = append(b, c)
	}
	return string(bytes.TrimSpace(b))
}
