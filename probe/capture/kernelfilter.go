package capture

import "golang.org/x/net/bpf"

// rejected is what a program in the kernel returns for a frame that the filter
// turns away: one byte of it enters the ring, so that the frame is counted with
// its length instead of vanishing.
const rejected = 1

// guardWord is the scratch word that a guard saves A in.
const guardWord = scratchWords - 1

// counting rewrites a program so that it returns rejected where the original
// returns 0, also where the original would end because a load lies beyond the
// frame: before each load comes a comparison with the length. ok is false when
// the program is too large or uses what a guard needs; it then runs in user
// space. The program has passed prepare.
func counting(raw []bpf.RawInstruction) (out []bpf.RawInstruction, ok bool) {
	start := make([]int, len(raw)) // index in out of each original instruction
	type jump struct {
		at       int // index in out
		jt, jf   int // index in raw, or reject
		absolute bool
	}
	const reject, next = -1, -2
	var jumps []jump
	emit := func(op uint16, k uint32) { out = append(out, bpf.RawInstruction{Op: op, K: k}) }
	check := func(op uint16, k uint32) { // go on when true
		jumps = append(jumps, jump{at: len(out), jt: next, jf: reject})
		emit(op, k)
	}
	for i, r := range raw {
		start[i] = len(out)
		size := uint64(4)
		switch r.Op & 0x18 {
		case sizeH:
			size = 2
		case sizeB:
			size = 1
		}
		end := uint64(r.K) + size
		if usesScratch(r, guardWord) || isLoad(r.Op) && end > 1<<31 {
			return nil, false
		}
		switch {
		case r.Op == opRet && r.K == 0:
			emit(opRet, rejected)
			continue
		case r.Op == opRet|retA:
			check(opJmp|jmpGt, 0)
		case r.Op&0xe7 == opLd|modeAbs:
			emit(opLd|modeLen, 0)
			check(opJmp|jmpGe, uint32(end))
		case r.Op&0xe7 == opLd|modeInd:
			emit(opLd|modeLen, 0)
			check(opJmp|jmpGe|srcX, 0)
			emit(opAlu|0x10|srcX, 0) // A = length - X
			check(opJmp|jmpGe, uint32(end))
		case r.Op == opLdx|sizeB|modeMsh:
			emit(opSt, guardWord)
			emit(opLd|modeLen, 0)
			check(opJmp|jmpGe, uint32(end))
			emit(opLd|modeMem, guardWord)
		case r.Op&7 == opAlu && (r.Op>>4 == 3 || r.Op>>4 == 9) && r.Op&srcX != 0:
			return nil, false // ends on a division by zero
		case r.Op == opJmp|jmpJa:
			jumps = append(jumps, jump{at: len(out), jt: i + 1 + int(r.K), absolute: true})
		case r.Op&7 == opJmp:
			jumps = append(jumps, jump{at: len(out), jt: i + 1 + int(r.Jt), jf: i + 1 + int(r.Jf)})
		}
		emit(r.Op, r.K)
	}
	last := len(out)
	emit(opRet, rejected)
	distance := func(at, to int) int {
		switch to {
		case reject:
			return last - at - 1
		case next:
			return 0
		}
		return start[to] - at - 1
	}
	for _, j := range jumps {
		jt, jf := distance(j.at, j.jt), 0
		if j.absolute {
			out[j.at].K = uint32(jt)
			continue
		}
		jf = distance(j.at, j.jf)
		if jt > 255 || jf > 255 {
			return nil, false
		}
		out[j.at].Jt, out[j.at].Jf = uint8(jt), uint8(jf)
	}
	return out, len(out) <= maxProgram
}

// isLoad says whether op reads the frame.
func isLoad(op uint16) bool {
	mode := op & 0xe0
	return op&7 == opLd && (mode == modeAbs || mode == modeInd) || op&7 == opLdx && mode == modeMsh
}

// usesScratch says whether r reads or writes scratch word n.
func usesScratch(r bpf.RawInstruction, n uint32) bool {
	class := r.Op & 7
	load := (class == opLd || class == opLdx) && r.Op&0xe0 == modeMem
	return r.K == n && (load || class == opSt || class == opStx)
}
