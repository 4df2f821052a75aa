package capture

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
)

// Parts of a classic BPF operation code.
// Source: McCanne and Jacobson, The BSD Packet Filter (1993), section 3.3, with
// the values of net/bpf.h.
const (
	opLd   = 0x00
	opLdx  = 0x01
	opSt   = 0x02
	opStx  = 0x03
	opAlu  = 0x04
	opJmp  = 0x05
	opRet  = 0x06
	opMisc = 0x07

	sizeH = 0x08
	sizeB = 0x10

	modeImm = 0x00
	modeAbs = 0x20
	modeInd = 0x40
	modeMem = 0x60
	modeLen = 0x80
	modeMsh = 0xa0

	srcX = 0x08

	jmpJa  = 0x00
	jmpEq  = 0x10
	jmpGt  = 0x20
	jmpGe  = 0x30
	jmpSet = 0x40

	retA    = 0x10
	miscTxa = 0x80

	scratchWords = 16
	maxProgram   = 4096 // BPF_MAXINSNS in the kernel
)

// step is one instruction; jumps are absolute.
type step struct {
	op     uint16
	jt, jf uint16
	k      uint32
}

// prepare checks a program as the kernel would: known operations, jumps that
// stay inside, scratch words that exist, a return at the end, no constant
// division by zero. Jumps only go forward, so every program ends.
func prepare(raw []bpf.RawInstruction) ([]step, error) {
	if len(raw) == 0 || len(raw) > maxProgram {
		return nil, fmt.Errorf("a program of %d instructions (1 to %d are possible)", len(raw), maxProgram)
	}
	prog := make([]step, len(raw))
	for i, r := range raw {
		s := step{op: r.Op, k: r.K}
		if !known(r) {
			return nil, fmt.Errorf("instruction %d: operation %#x with %d is not known", i, r.Op, r.K)
		}
		if r.Op&7 == opJmp {
			jt, jf := uint64(i)+1+uint64(r.Jt), uint64(i)+1+uint64(r.Jf)
			if r.Op == opJmp|jmpJa {
				jt = uint64(i) + 1 + uint64(r.K)
				jf = jt
			}
			if jt >= uint64(len(raw)) || jf >= uint64(len(raw)) {
				return nil, fmt.Errorf("instruction %d: jumps out of the program", i)
			}
			s.jt, s.jf = uint16(jt), uint16(jf)
		}
		prog[i] = s
	}
	if prog[len(prog)-1].op&7 != opRet {
		return nil, errors.New("the program does not end with a return")
	}
	return prog, nil
}

func known(r bpf.RawInstruction) bool {
	switch r.Op {
	case opLd | modeAbs, opLd | sizeH | modeAbs, opLd | sizeB | modeAbs,
		opLd | modeInd, opLd | sizeH | modeInd, opLd | sizeB | modeInd,
		opLd | modeImm, opLd | modeLen, opLdx | modeImm, opLdx | modeLen, opLdx | sizeB | modeMsh,
		opJmp | jmpJa, opRet, opRet | retA, opMisc, opMisc | miscTxa:
		return true
	case opLd | modeMem, opLdx | modeMem, opSt, opStx:
		return r.K < scratchWords
	}
	switch r.Op &^ srcX {
	case opJmp | jmpEq, opJmp | jmpGt, opJmp | jmpGe, opJmp | jmpSet:
		return true
	case opAlu | 0x30, opAlu | 0x90: // division, modulo
		return r.Op&srcX != 0 || r.K != 0
	case opAlu | 0x60, opAlu | 0x70: // shifts: more than 31 is refused by the kernel
		return r.Op&srcX != 0 || r.K < 32
	}
	return r.Op&7 == opAlu && r.Op>>4 <= 0xa && (r.Op>>4 != 8 || r.Op == opAlu|0x80)
}

// Match says whether the frame passes: data are its captured bytes, wire its
// original length, which the program may ask for. A load beyond data rejects
// the frame, as in the kernel. Nothing is allocated or kept.
func (f *Filter) Match(data []byte, wire uint32) bool {
	return f == nil || run(f.prog, data, wire) != 0
}

// run returns what the program returns.
func run(prog []step, data []byte, wire uint32) uint32 {
	var a, x uint32
	var m [scratchWords]uint32
	n := uint64(len(data))
	for pc := 0; pc < len(prog); pc++ {
		s := &prog[pc]
		k := s.k
		switch s.op {
		case opLd | modeAbs, opLd | modeInd:
			at := uint64(k)
			if s.op&modeInd != 0 {
				at = uint64(k + x)
			}
			if at+4 > n {
				return 0
			}
			a = binary.BigEndian.Uint32(data[at:])
		case opLd | sizeH | modeAbs:
			if uint64(k)+2 > n {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(data[k:]))
		case opLd | sizeH | modeInd:
			at := uint64(k + x)
			if at+2 > n {
				return 0
			}
			a = uint32(binary.BigEndian.Uint16(data[at:]))
		case opLd | sizeB | modeAbs:
			if uint64(k) >= n {
				return 0
			}
			a = uint32(data[k])
		case opLd | sizeB | modeInd:
			at := uint64(k + x)
			if at >= n {
				return 0
			}
			a = uint32(data[at])
		case opLdx | sizeB | modeMsh:
			if uint64(k) >= n {
				return 0
			}
			x = uint32(data[k]&0xf) * 4
		case opLd | modeImm:
			a = k
		case opLd | modeLen:
			a = wire
		case opLd | modeMem:
			a = m[k%scratchWords]
		case opLdx | modeImm:
			x = k
		case opLdx | modeLen:
			x = wire
		case opLdx | modeMem:
			x = m[k%scratchWords]
		case opSt:
			m[k%scratchWords] = a
		case opStx:
			m[k%scratchWords] = x
		case opJmp | jmpJa:
			pc = int(s.jt) - 1
		case opJmp | jmpEq:
			pc = s.branch(a == k)
		case opJmp | jmpGt:
			pc = s.branch(a > k)
		case opJmp | jmpGe:
			pc = s.branch(a >= k)
		case opJmp | jmpSet:
			pc = s.branch(a&k != 0)
		case opJmp | jmpEq | srcX:
			pc = s.branch(a == x)
		case opJmp | jmpGt | srcX:
			pc = s.branch(a > x)
		case opJmp | jmpGe | srcX:
			pc = s.branch(a >= x)
		case opJmp | jmpSet | srcX:
			pc = s.branch(a&x != 0)
		case opRet:
			return k
		case opRet | retA:
			return a
		case opMisc:
			x = a
		case opMisc | miscTxa:
			a = x
		default:
			if s.op&srcX != 0 {
				k = x
			}
			var ok bool
			if a, ok = compute(s.op>>4, a, k); !ok {
				return 0
			}
		}
	}
	return 0
}

func (s *step) branch(yes bool) int {
	if yes {
		return int(s.jt) - 1
	}
	return int(s.jf) - 1
}

// compute does the arithmetic of operation op; false: a division by zero.
func compute(op uint16, a, k uint32) (uint32, bool) {
	switch op {
	case 0x0:
		return a + k, true
	case 0x1:
		return a - k, true
	case 0x2:
		return a * k, true
	case 0x3:
		if k == 0 {
			return 0, false
		}
		return a / k, true
	case 0x4:
		return a | k, true
	case 0x5:
		return a & k, true
	case 0x6:
		return a << k, true
	case 0x7:
		return a >> k, true
	case 0x8:
		return -a, true
	case 0x9:
		if k == 0 {
			return 0, false
		}
		return a % k, true
	default: // 0xa, prepare lets nothing else in
		return a ^ k, true
	}
}
