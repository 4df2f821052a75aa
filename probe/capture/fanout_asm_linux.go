package capture

import (
	"github.com/cilium/ebpf/asm"
	"github.com/tapwatch/tapwatch/probe/iana"
)

// Registers and stack of the program. R0 to R5 are lost at each call.
const (
	rFrame = asm.R6 // the frame: struct __sk_buff
	rPos   = asm.R7 // where the next header begins, as bpf_skb_load_bytes counts
	rNext  = asm.R8 // what it is, as in layersHash
	rStep  = asm.R9 // headers looked at
	hashAt = -8     // of the innermost addresses so far
	buf    = -48    // the header being looked at, 40 octets
)

// Offsets in struct __sk_buff and values of its fields (linux/bpf.h,
// linux/if_packet.h).
const (
	skbPktType     = 4
	packetOutgoing = 4
	startMAC       = 0 // BPF_HDR_START_MAC
)

// assembler collects instructions. Labels name the next one that is added.
type assembler struct {
	code  asm.Instructions
	label string
}

func (a *assembler) add(list ...asm.Instruction) {
	for _, i := range list {
		if a.label != "" {
			i, a.label = i.WithSymbol(a.label), ""
		}
		a.code = append(a.code, i)
	}
}

func (a *assembler) at(label string) {
	if a.label != "" { // two names for one place
		a.add(asm.Mov.Reg(asm.R0, asm.R10))
	}
	a.label = label
}

// load brings n octets at pos + off into the buffer, or goes to "done".
func (a *assembler) load(off, n int32) { a.loadOr(off, n, "done") }

// loadOr goes to short if there are fewer.
func (a *assembler) loadOr(off, n int32, short string) {
	a.add(asm.Mov.Reg(asm.R1, rFrame), asm.Mov.Reg(asm.R2, rPos))
	if off != 0 {
		a.add(asm.Add.Imm(asm.R2, off))
	}
	a.add(asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, buf), asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, short))
}

// u8, u16, u32 and u64 read the buffer at off in network order.
func (a *assembler) u8(r asm.Register, off int16) {
	a.add(asm.LoadMem(r, asm.R10, buf+off, asm.Byte))
}

func (a *assembler) u16(r asm.Register, off int16) {
	a.add(asm.LoadMem(r, asm.R10, buf+off, asm.Half), asm.HostTo(asm.BE, r, asm.Half))
}

func (a *assembler) u32(r asm.Register, off int16) {
	a.add(asm.LoadMem(r, asm.R10, buf+off, asm.Word), asm.HostTo(asm.BE, r, asm.Word))
}

func (a *assembler) u64(r asm.Register, off int16) {
	a.add(asm.LoadMem(r, asm.R10, buf+off, asm.DWord), asm.HostTo(asm.BE, r, asm.DWord))
}

// move goes on with the next header after n octets.
func (a *assembler) move(n int32) {
	if n != 0 {
		a.add(asm.Add.Imm(rPos, n))
	}
	a.add(asm.Ja.Label("loop"))
}

// become does so when the next header is known.
func (a *assembler) become(kind, n int32) {
	a.add(asm.Mov.Imm(rNext, kind))
	a.move(n)
}

// mul multiplies r by a 64-bit constant; R5 is lost.
func (a *assembler) mul(r asm.Register, k uint64) {
	a.add(asm.LoadImm(asm.R5, int64(k), asm.DWord), asm.Mul.Reg(r, asm.R5))
}

func (a *assembler) xorHigh(r asm.Register) {
	a.add(asm.Mov.Reg(asm.R5, r), asm.RSh.Imm(asm.R5, 32), asm.Xor.Reg(r, asm.R5))
}

// pair is pairHash of R2 and R3 into the hash.
func (a *assembler) pair() {
	for _, r := range []asm.Register{asm.R2, asm.R3} {
		a.mul(r, mixA)
		a.xorHigh(r)
		a.mul(r, mixB)
	}
	a.add(asm.Add.Reg(asm.R2, asm.R3))
	a.xorHigh(asm.R2)
	a.mul(asm.R2, mixC)
	a.add(asm.RSh.Imm(asm.R2, 32), asm.StoreMem(asm.R10, hashAt, asm.R2, asm.DWord))
}

// fold is fold6 of the 16 octets at off into r.
func (a *assembler) fold(r asm.Register, off int16) {
	a.u64(r, off)
	a.add(asm.Mov.Reg(asm.R5, r), asm.LSh.Imm(r, 32), asm.RSh.Imm(asm.R5, 32), asm.Or.Reg(r, asm.R5))
	a.mul(r, mixC)
	a.u64(asm.R4, off+8)
	a.add(asm.Add.Reg(r, asm.R4))
}

// version goes on with IP of the version in the upper half of r.
func (a *assembler) version(r asm.Register) {
	a.add(asm.RSh.Imm(r, 4), asm.Mov.Imm(rNext, iana.EtherIPv4), asm.JEq.Imm(r, 4, "loop"),
		asm.Mov.Imm(rNext, iana.EtherIPv6), asm.JEq.Imm(r, 6, "loop"), asm.Ja.Label("done"))
}

// upper makes the next header of the IP protocol at off.
func (a *assembler) upper(off int16) {
	a.u8(rNext, off)
	a.add(asm.Add.Imm(rNext, nextUpper))
}
