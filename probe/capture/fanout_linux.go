package capture

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// newGroup asks for a fanout group that no other process uses. The kernel
// numbers these from 0.
const newGroup = -1

// joinFanout puts the socket into a group that spreads in the manner how, and
// returns its number. In a group of PACKET_FANOUT_EBPF all frames go to the
// first socket until setFanout.
func joinFanout(fd, how, group int) (int, error) {
	if group == newGroup {
		how, group = how|unix.PACKET_FANOUT_FLAG_UNIQUEID, 0
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, how<<16|group); err != nil {
		return 0, err
	}
	v, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	return v & 0xffff, err
}

// errNoFanoutProgram is in errors of loadFanout: frames of this link type are
// not looked into by the kernel.
var errNoFanoutProgram = errors.New("no program for this link type")

// loadFanout loads the program that spreads frames of LINKTYPE link as
// FlowHash does. It needs CAP_BPF (before Linux 5.8: CAP_SYS_ADMIN) and
// Linux 5.3, from which on programs may loop.
func loadFanout(link uint16) (*ebpf.Program, error) {
	code, err := fanoutProgram(link)
	if err != nil {
		return nil, err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "tapwatch_fanout", Type: ebpf.SocketFilter, Instructions: code, License: "Apache-2.0"})
	if err != nil {
		return nil, fmt.Errorf("load the fanout program: %w", err)
	}
	return p, nil
}

// setFanout attaches p to the group that the socket is in; the kernel keeps it.
func setFanout(fd int, p *ebpf.Program) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, p.FD()); err != nil {
		return fmt.Errorf("attach the fanout program: %w", err)
	}
	return nil
}

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
	fresh int
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
func (a *assembler) load(off, n int32) {
	a.add(asm.Mov.Reg(asm.R1, rFrame), asm.Mov.Reg(asm.R2, rPos))
	if off != 0 {
		a.add(asm.Add.Imm(asm.R2, off))
	}
	a.add(asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, buf), asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "done"))
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
	a.add(asm.RSh.Imm(r, 4), asm.Mov.Imm(rNext, etherIPv4), asm.JEq.Imm(r, 4, "loop"),
		asm.Mov.Imm(rNext, etherIPv6), asm.JEq.Imm(r, 6, "loop"), asm.Ja.Label("done"))
}

// upper makes the next header of the IP protocol at off.
func (a *assembler) upper(off int16) {
	a.u8(rNext, off)
	a.add(asm.Add.Imm(rNext, nextUpper))
}

// fanoutProgram is layersHash for the kernel: the same steps, bounds and value
// for a frame as a ring delivers it. TestFanoutProgram holds both against each
// other in the kernel.
func fanoutProgram(link uint16) (asm.Instructions, error) {
	a := &assembler{}
	a.add(asm.Mov.Reg(rFrame, asm.R1), asm.Mov.Imm(rStep, 0), asm.Mov.Imm(rPos, 0), asm.Mov.Imm(asm.R2, 0), asm.StoreMem(asm.R10, hashAt, asm.R2, asm.DWord))
	switch link {
	case LinkEthernet:
		// A frame that arrives begins, for bpf_skb_load_bytes, behind the
		// Ethernet header, one that leaves the host with it. A tag that the
		// kernel has stripped already is not there.
		a.add(asm.Mov.Reg(asm.R1, rFrame), asm.Mov.Imm(asm.R2, 12), asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, buf),
			asm.Mov.Imm(asm.R4, 2), asm.Mov.Imm(asm.R5, startMAC), asm.FnSkbLoadBytesRelative.Call(), asm.JNE.Imm(asm.R0, 0, "done"))
		a.u16(rNext, 0)
		a.add(asm.LoadMem(asm.R1, rFrame, skbPktType, asm.Word), asm.JNE.Imm(asm.R1, packetOutgoing, "loop"), asm.Mov.Imm(rPos, 14))
	case LinkRaw:
		a.add(asm.Mov.Imm(rNext, nextRaw))
	default:
		return nil, errNoFanoutProgram
	}
	a.at("loop")
	a.add(asm.JGE.Imm(rStep, a.steps(link), "done"), asm.Add.Imm(rStep, 1))
	for _, c := range []struct {
		label string
		kinds []int32
	}{
		{"ipv4", []int32{etherIPv4}},
		{"done", []int32{nextUpper + protoTCP}},
		{"udp", []int32{nextUpper + protoUDP}},
		{"ipv6", []int32{etherIPv6}},
		{"vlan", []int32{etherVLAN, etherQinQ, etherQinQOld}},
		{"frame", []int32{etherTEB}},
		{"mpls", []int32{etherMPLS, etherMPLSUp}},
		{"gre", []int32{nextUpper + protoGRE}},
		{"pppoe", []int32{etherPPPoE}},
		{"ppp", []int32{etherPPP}},
		{"raw", []int32{nextRaw}},
		{"gtp", []int32{nextGTP}},
		{"inner4", []int32{nextUpper + protoIPv4}},
		{"inner6", []int32{nextUpper + protoIPv6}},
		{"extension", []int32{nextUpper + protoHopByHop, nextUpper + protoRouting, nextUpper + protoDstOpts,
			nextUpper + protoMobility, nextUpper + protoHIP, nextUpper + protoShim6}},
		{"ah", []int32{nextUpper + protoAH}},
		{"fragment", []int32{nextUpper + protoFragment}},
		{"fabricpath", []int32{etherFabricPath}},
	} {
		for _, k := range c.kinds {
			a.add(asm.JEq.Imm(rNext, k, c.label))
		}
	}
	a.snap()
	a.ip()
	a.extensions()
	a.linkLayers()
	a.gre()
	a.udp()
	a.at("done")
	a.add(asm.LoadMem(asm.R0, asm.R10, hashAt, asm.DWord), asm.Return())
	return a.code, nil
}

// steps is hashLayers less the Ethernet header, which is read before the loop.
func (a *assembler) steps(link uint16) int32 {
	if link == LinkEthernet {
		return hashLayers - 1
	}
	return hashLayers
}

func (a *assembler) snap() {
	a.add(asm.JGT.Imm(rNext, etherMaxLength, "done"))
	a.load(0, 8)
	a.u16(asm.R2, 0)
	a.add(asm.JNE.Imm(asm.R2, 0xaaaa, "done"))
	a.u8(asm.R2, 2)
	a.add(asm.JNE.Imm(asm.R2, 3, "done"))
	a.u16(rNext, 6)
	a.move(8)
}

func (a *assembler) ip() {
	a.at("ipv4")
	a.load(0, 20)
	a.u8(asm.R1, 0)
	a.add(asm.JLT.Imm(asm.R1, 0x45, "done"), asm.JGT.Imm(asm.R1, 0x4f, "done"))
	a.u32(asm.R2, 12)
	a.u32(asm.R3, 16)
	a.pair()
	a.u16(asm.R2, 6)
	a.add(asm.And.Imm(asm.R2, 0x3fff), asm.JNE.Imm(asm.R2, 0, "done"))
	a.upper(9)
	a.add(asm.And.Imm(asm.R1, 15), asm.LSh.Imm(asm.R1, 2), asm.Add.Reg(rPos, asm.R1))
	a.move(0)

	a.at("ipv6")
	a.load(0, 40)
	a.u8(asm.R1, 0)
	a.add(asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 6, "done"))
	a.fold(asm.R2, 8)
	a.fold(asm.R3, 24)
	a.pair()
	a.upper(6)
	a.move(40)

	a.at("raw")
	a.load(0, 1)
	a.u8(asm.R1, 0)
	a.version(asm.R1)

	a.at("inner4")
	a.become(etherIPv4, 0)
	a.at("inner6")
	a.become(etherIPv6, 0)
}

func (a *assembler) extensions() {
	a.at("extension")
	a.load(0, 2)
	a.upper(0)
	a.u8(asm.R1, 1)
	a.add(asm.LSh.Imm(asm.R1, 3), asm.Add.Reg(rPos, asm.R1))
	a.move(8)

	a.at("ah")
	a.load(0, 2)
	a.upper(0)
	a.u8(asm.R1, 1)
	a.add(asm.LSh.Imm(asm.R1, 2), asm.Add.Reg(rPos, asm.R1))
	a.move(8)

	a.at("fragment")
	a.load(0, 8)
	a.u16(asm.R1, 2)
	a.add(asm.And.Imm(asm.R1, 0xfff9), asm.JNE.Imm(asm.R1, 0, "done"))
	a.upper(0)
	a.move(8)
}

func (a *assembler) linkLayers() {
	a.at("vlan")
	a.load(0, 4)
	a.u16(rNext, 2)
	a.move(4)

	a.at("frame")
	a.load(0, 14)
	a.u16(rNext, 12)
	a.move(14)

	a.at("fabricpath")
	a.become(etherTEB, 2)

	a.at("mpls")
	a.load(0, 5)
	a.u8(asm.R1, 2)
	a.add(asm.And.Imm(asm.R1, 1), asm.JNE.Imm(asm.R1, 0, "bottom"))
	a.become(etherMPLS, 4)
	a.at("bottom")
	a.add(asm.Add.Imm(rPos, 4))
	a.u8(asm.R1, 4)
	a.add(asm.JGT.Imm(asm.R1, 15, "under"))
	a.become(etherTEB, 4)
	a.at("under")
	a.version(asm.R1)

	a.at("pppoe")
	a.load(0, 8)
	a.u16(asm.R1, 0)
	a.add(asm.JNE.Imm(asm.R1, 0x1100, "done"))
	a.become(etherPPP, 6)

	a.at("ppp")
	a.load(0, 4)
	a.u8(asm.R1, 0)
	a.u8(asm.R2, 1)
	a.u16(asm.R3, 0)
	a.add(asm.JNE.Imm(asm.R3, 0xff03, "protocol"), asm.Add.Imm(rPos, 2))
	a.u8(asm.R1, 2)
	a.u8(asm.R2, 3)
	a.at("protocol")
	a.add(asm.Add.Imm(rPos, 1), asm.Mov.Reg(asm.R3, asm.R1), asm.And.Imm(asm.R3, 1), asm.JNE.Imm(asm.R3, 0, "known"),
		asm.Add.Imm(rPos, 1), asm.LSh.Imm(asm.R1, 8), asm.Or.Reg(asm.R1, asm.R2))
	a.at("known")
	for _, c := range [][2]int32{{0x21, etherIPv4}, {0x57, etherIPv6}, {0x281, etherMPLS}, {0x283, etherMPLS}} {
		a.add(asm.Mov.Imm(rNext, c[1]), asm.JEq.Imm(asm.R1, c[0], "loop"))
	}
	a.add(asm.Ja.Label("done"))
}

// gre goes on with the next header in R3 at "payload", which udp uses too.
func (a *assembler) gre() {
	a.at("gre")
	a.load(0, 4)
	a.u8(asm.R1, 0)
	a.u8(asm.R2, 1)
	a.u16(asm.R3, 2)
	a.add(asm.Mov.Reg(asm.R4, asm.R1), asm.And.Imm(asm.R4, 0x40), asm.JNE.Imm(asm.R4, 0, "done"),
		asm.Mov.Reg(asm.R4, asm.R2), asm.And.Imm(asm.R4, 7), asm.JGT.Imm(asm.R4, 1, "done"), asm.Add.Imm(rPos, 4))
	for _, bit := range []int32{7, 5, 4} {
		a.add(asm.Mov.Reg(asm.R5, asm.R1), asm.RSh.Imm(asm.R5, bit), asm.And.Imm(asm.R5, 1), asm.LSh.Imm(asm.R5, 2), asm.Add.Reg(rPos, asm.R5))
	}
	a.add(asm.JEq.Imm(asm.R4, 0, "version0"), asm.RSh.Imm(asm.R2, 7), asm.LSh.Imm(asm.R2, 2), asm.Add.Reg(rPos, asm.R2))
	a.at("version0")
	a.add(asm.JEq.Imm(asm.R3, etherERSPAN, "erspan"), asm.JEq.Imm(asm.R3, etherERSPAN3, "erspan3"))
	a.at("payload")
	a.add(asm.Mov.Reg(rNext, asm.R3))
	for _, et := range []int32{etherIPv4, etherTEB, etherIPv6, etherPPP, etherMPLS, etherMPLSUp} {
		a.add(asm.JEq.Imm(asm.R3, et, "loop"))
	}
	a.add(asm.Ja.Label("done"))
	a.at("erspan")
	a.add(asm.RSh.Imm(asm.R1, 4), asm.And.Imm(asm.R1, 1), asm.LSh.Imm(asm.R1, 3), asm.Add.Reg(rPos, asm.R1))
	a.become(etherTEB, 0)
	a.at("erspan3")
	a.load(11, 1)
	a.u8(asm.R1, 0)
	a.add(asm.And.Imm(asm.R1, 1), asm.LSh.Imm(asm.R1, 3), asm.Add.Reg(rPos, asm.R1))
	a.become(etherTEB, 12)
}

func (a *assembler) udp() {
	a.at("udp")
	a.load(0, 16)
	a.u16(asm.R1, 0)
	a.u16(asm.R2, 2)
	a.add(asm.JEq.Imm(asm.R2, portVXLAN, "vxlan"), asm.JEq.Imm(asm.R2, portGENEVE, "geneve"),
		asm.JEq.Imm(asm.R2, portGTPU, "gtpu"), asm.JEq.Imm(asm.R1, portGTPU, "gtpu"), asm.Ja.Label("done"))

	a.at("vxlan")
	a.u8(asm.R1, 8)
	a.u8(asm.R2, 15)
	a.add(asm.JNE.Imm(asm.R1, 8, "done"), asm.JNE.Imm(asm.R2, 0, "done"))
	a.become(etherTEB, 16)

	a.at("geneve")
	a.u8(asm.R1, 8)
	a.u8(asm.R2, 9)
	a.u16(asm.R3, 10)
	a.add(asm.JGT.Imm(asm.R1, 0x3f, "done"), asm.JGT.Imm(asm.R2, 0x7f, "done"), asm.LSh.Imm(asm.R1, 2),
		asm.Add.Imm(rPos, 16), asm.Add.Reg(rPos, asm.R1), asm.Ja.Label("payload"))

	a.at("gtpu")
	a.u8(asm.R1, 8)
	a.u8(asm.R2, 9)
	a.add(asm.Mov.Reg(asm.R3, asm.R1), asm.And.Imm(asm.R3, 0xf0), asm.JNE.Imm(asm.R3, 0x30, "done"), asm.JNE.Imm(asm.R2, 0xff, "done"),
		asm.Mov.Imm(rNext, nextRaw), asm.Add.Imm(rPos, 16), asm.And.Imm(asm.R1, 7), asm.JEq.Imm(asm.R1, 0, "loop"),
		asm.And.Imm(asm.R1, 4), asm.Add.Imm(rPos, 4), asm.JEq.Imm(asm.R1, 0, "loop"))
	a.load(-1, 1)
	a.u8(asm.R1, 0)
	a.add(asm.JEq.Imm(asm.R1, 0, "loop"))
	a.become(nextGTP, 0)

	a.at("gtp")
	a.load(0, 1)
	a.u8(asm.R1, 0)
	a.add(asm.JEq.Imm(asm.R1, 0, "done"), asm.LSh.Imm(asm.R1, 2), asm.Add.Reg(rPos, asm.R1))
	a.load(-1, 1)
	a.u8(asm.R1, 0)
	a.add(asm.JNE.Imm(asm.R1, 0, "loop"))
	a.become(nextRaw, 0)
}
