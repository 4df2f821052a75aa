package capture

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/tapwatch/tapwatch/probe/iana"
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
	// A group has a hook of its own, which does not ask what its sockets ignore.
	if ignore, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING); err == nil && ignore != 0 {
		how |= unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
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

// loadFanout loads the program that spreads frames of LINKTYPE link by the
// PairHash of their innermost addresses. It needs Linux 5.3, from which on
// programs may loop, CAP_BPF, and CAP_PERFMON, without which the verifier also follows what a processor
// would only speculate, past the bound of the loop (before Linux 5.8:
// CAP_SYS_ADMIN for both).
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
	a.add(asm.JEq.Imm(rNext, iana.EtherIPv4, "ipv4"), asm.JEq.Imm(rNext, nextUpper+iana.ProtoTCP, "done"), asm.JLE.Imm(rNext, iana.EtherMaxLength, "snap"))
	a.dispatch(fanoutLayers())
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

// layerCode says where the code for a header is.
type layerCode struct {
	kind  int32
	label string
}

// fanoutLayers lists the headers that are looked into, by kind.
func fanoutLayers() []layerCode {
	all := []layerCode{
		{iana.EtherIPv6, "ipv6"}, {iana.EtherVLAN, "vlan"}, {iana.EtherQinQ, "vlan"}, {iana.EtherQinQOld, "vlan"}, {iana.EtherTEB, "frame"}, {iana.EtherMPLS, "mpls"},
		{iana.EtherMPLSUp, "mpls"}, {iana.EtherPPPoE, "pppoe"}, {iana.EtherPPP, "ppp"}, {iana.EtherFabricPath, "fabricpath"}, {iana.EtherHSR, "tag6"}, {iana.EtherVNTag, "tag6"},
		{iana.EtherSGT, "tag8"}, {iana.EtherBridgePort, "tag8"}, {iana.EtherPBB, "pbb"}, {iana.EtherNSH, "nsh"},
		{nextRaw, "raw"}, {nextGTP, "gtp"}, {nextUnder, "under"},
		{nextUpper + iana.ProtoUDP, "udp"}, {nextUpper + iana.ProtoGRE, "gre"}, {nextUpper + iana.ProtoIPv4, "inner4"}, {nextUpper + iana.ProtoIPv6, "inner6"},
		{nextUpper + iana.ProtoHopByHop, "extension"}, {nextUpper + iana.ProtoRouting, "extension"}, {nextUpper + iana.ProtoDstOpts, "extension"},
		{nextUpper + iana.ProtoMobility, "extension"}, {nextUpper + iana.ProtoHIP, "extension"}, {nextUpper + iana.ProtoShim6, "extension"},
		{nextUpper + iana.ProtoAH, "ah"}, {nextUpper + iana.ProtoFragment, "fragment"}, {nextUpper + iana.ProtoEtherIP, "etherip"},
		{nextUpper + iana.ProtoEthernet, "ethernet"}, {nextUpper + iana.ProtoMPLS, "mplsip"},
	}
	slices.SortFunc(all, func(x, y layerCode) int { return int(x.kind - y.kind) })
	return all
}

// dispatch goes to the code for next, or to "done". It halves the sorted list
// each time, for the frame's sake and the verifier's, which keeps every branch
// that it has not followed yet, of all steps, and takes at most 8192.
func (a *assembler) dispatch(list []layerCode) {
	if len(list) <= 2 {
		for _, c := range list {
			a.add(asm.JEq.Imm(rNext, c.kind, c.label))
		}
		a.add(asm.Ja.Label("done"))
		return
	}
	half := len(list) / 2
	upper := fmt.Sprintf("from %#x", list[half].kind)
	a.add(asm.JGE.Imm(rNext, list[half].kind, upper))
	a.dispatch(list[:half])
	a.at(upper)
	a.dispatch(list[half:])
}

// steps is hashLayers less the Ethernet header, which is read before the loop.
func (a *assembler) steps(link uint16) int32 {
	if link == LinkEthernet {
		return hashLayers - 1
	}
	return hashLayers
}

func (a *assembler) snap() {
	a.at("snap")
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
	a.become(iana.EtherIPv4, 0)
	a.at("inner6")
	a.become(iana.EtherIPv6, 0)
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
	a.become(iana.EtherTEB, 2)

	a.at("mpls")
	a.load(0, 4)
	a.u8(asm.R1, 2)
	a.add(asm.And.Imm(asm.R1, 1), asm.JNE.Imm(asm.R1, 0, "bottom"))
	a.become(iana.EtherMPLS, 4)
	a.at("bottom")
	a.become(nextUnder, 4)

	a.at("under")
	a.framed(0, "frame within", "no frame within")
	a.at("frame within")
	a.load(0, 1)
	a.u8(asm.R1, 0)
	a.add(asm.JGT.Imm(asm.R1, 15, "no control word"))
	a.framed(4, "control word", "no control word")
	a.at("no control word")
	a.become(iana.EtherTEB, 0)
	a.at("no frame within")
	a.load(0, 1)
	a.u8(asm.R1, 0)
	a.add(asm.JLT.Imm(asm.R1, 16, "control word"))
	a.version(asm.R1)
	a.at("control word")
	a.become(iana.EtherTEB, 4)

	a.at("tag6")
	a.load(0, 6)
	a.u16(rNext, 4)
	a.move(6)

	a.at("tag8")
	a.load(0, 8)
	a.u16(rNext, 6)
	a.move(8)

	a.at("pbb")
	a.become(iana.EtherTEB, 4)

	a.at("nsh")
	a.load(0, 8)
	a.u8(asm.R1, 0)
	a.u8(asm.R2, 1)
	a.u8(asm.R3, 3)
	a.add(asm.JGT.Imm(asm.R1, 0x1f, "done"), asm.And.Imm(asm.R2, 0x3f), asm.JLT.Imm(asm.R2, 2, "done"),
		asm.LSh.Imm(asm.R2, 2), asm.Add.Reg(rPos, asm.R2))
	a.at("registry")
	for i, kind := range []int32{iana.EtherIPv4, iana.EtherIPv6, iana.EtherTEB, iana.EtherNSH, iana.EtherMPLS} {
		a.add(asm.Mov.Imm(rNext, kind), asm.JEq.Imm(asm.R3, int32(i+1), "loop"))
	}
	a.add(asm.Ja.Label("done"))

	a.at("etherip")
	a.load(0, 2)
	a.u8(asm.R1, 0)
	a.add(asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 3, "done"))
	a.become(iana.EtherTEB, 2)
	a.at("ethernet")
	a.become(iana.EtherTEB, 0)
	a.at("mplsip")
	a.become(iana.EtherMPLS, 0)

	a.at("pppoe")
	a.load(0, 8)
	a.u16(asm.R1, 0)
	a.add(asm.JNE.Imm(asm.R1, 0x1100, "done"))
	a.become(iana.EtherPPP, 6)

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
	for _, c := range [][2]int32{{0x21, iana.EtherIPv4}, {0x57, iana.EtherIPv6}, {0x281, iana.EtherMPLS}, {0x283, iana.EtherMPLS}} {
		a.add(asm.Mov.Imm(rNext, c[1]), asm.JEq.Imm(asm.R1, c[0], "loop"))
	}
	a.add(asm.Ja.Label("done"))
}
