package capture

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/tapwatch/tapwatch/probe/iana"
)

// framed is looksFramed of what begins at pos + off.
func (a *assembler) framed(off int32, yes, no string) {
	a.loadOr(off, 24, no)
	for n := int16(12); n <= 20; n += vlanLen {
		tag, v4, v6, arp := fmt.Sprint("tag", off, n), fmt.Sprint("v4", off, n), fmt.Sprint("v6", off, n), fmt.Sprint("arp", off, n)
		a.u16(asm.R1, n)
		a.u8(asm.R2, n+2)
		a.add(asm.JEq.Imm(asm.R1, iana.EtherIPv4, v4), asm.JEq.Imm(asm.R1, iana.EtherIPv6, v6), asm.JEq.Imm(asm.R1, iana.EtherARP, arp),
			asm.JEq.Imm(asm.R1, iana.EtherRARP, arp), asm.JEq.Imm(asm.R1, iana.EtherMPLS, yes), asm.JEq.Imm(asm.R1, iana.EtherPPPoE, yes),
			asm.JEq.Imm(asm.R1, iana.EtherVLAN, tag), asm.JEq.Imm(asm.R1, iana.EtherQinQ, tag), asm.JEq.Imm(asm.R1, iana.EtherQinQOld, tag), asm.Ja.Label(no))
		a.at(v4)
		a.add(asm.JLT.Imm(asm.R2, 0x45, no), asm.JGT.Imm(asm.R2, 0x4f, no), asm.Ja.Label(yes))
		a.at(v6)
		a.add(asm.RSh.Imm(asm.R2, 4), asm.JEq.Imm(asm.R2, 6, yes), asm.Ja.Label(no))
		a.at(arp)
		a.add(asm.JEq.Imm(asm.R2, 0, yes), asm.Ja.Label(no))
		a.at(tag)
	}
	a.add(asm.Ja.Label(no))
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
	a.add(asm.JEq.Imm(asm.R3, iana.EtherERSPAN, "erspan"), asm.JEq.Imm(asm.R3, iana.EtherERSPAN3, "erspan3"),
		asm.JEq.Imm(asm.R3, iana.EtherWCCP, "wccp"))
	a.at("payload")
	a.add(asm.Mov.Reg(rNext, asm.R3))
	for _, et := range []int32{iana.EtherIPv4, iana.EtherTEB, iana.EtherIPv6, iana.EtherPPP, iana.EtherMPLS, iana.EtherMPLSUp, iana.EtherNSH} {
		a.add(asm.JEq.Imm(asm.R3, et, "loop"))
	}
	a.add(asm.Ja.Label("done"))
	a.at("erspan")
	a.add(asm.And.Imm(asm.R1, 0x10), asm.JNE.Imm(asm.R1, 0, "erspan2"))
	a.become(iana.EtherTEB, 0)
	a.at("erspan2")
	a.load(0, 1)
	a.u8(asm.R1, 0)
	a.add(asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 1, "done"))
	a.become(iana.EtherTEB, 8)
	a.at("erspan3")
	a.load(0, 12)
	a.u8(asm.R1, 11)
	a.u8(asm.R2, 10)
	a.add(asm.And.Imm(asm.R1, 1), asm.LSh.Imm(asm.R1, 3), asm.Add.Reg(rPos, asm.R1), asm.Add.Imm(rPos, 12),
		asm.RSh.Imm(asm.R2, 2), asm.And.Imm(asm.R2, 0x1f), asm.Mov.Imm(rNext, nextRaw), asm.JEq.Imm(asm.R2, 2, "loop"))
	a.become(iana.EtherTEB, 0)
	a.at("wccp")
	a.load(0, 1)
	a.u8(asm.R1, 0)
	a.add(asm.Mov.Imm(rNext, iana.EtherIPv4), asm.RSh.Imm(asm.R1, 4), asm.JEq.Imm(asm.R1, 4, "loop"))
	a.move(4)
}

// udp looks at the port that the datagram was sent to, then where it came from.
func (a *assembler) udp() {
	a.at("udp")
	a.load(0, 16)
	a.u16(asm.R1, 0)
	a.u16(asm.R2, 2)
	ports := []struct {
		port  int32
		label string
	}{{iana.PortVXLAN, "vxlan"}, {iana.PortVXLANOld, "vxlan"}, {iana.PortVXLANGPE, "vxlan-gpe"}, {iana.PortGENEVE, "geneve"}, {iana.PortGTPU, "gtpu"},
		{iana.PortL2TP, "l2tp"}, {iana.PortTeredo, "teredo"}, {iana.PortAYIYA, "done"}, {iana.PortGRE, "gre in udp"}, {iana.PortMPLS, "mpls in udp"}, {iana.PortLISP, "lisp"}}
	for _, p := range ports {
		a.add(asm.JEq.Imm(asm.R2, p.port, p.label))
	}
	for i, p := range ports {
		if i >= 7 {
			p.label = "done" // no tunnel if it is only the port of the sender
		}
		a.add(asm.JEq.Imm(asm.R1, p.port, p.label))
	}
	a.u8(asm.R1, 8)
	a.u16(asm.R2, 4)
	a.u16(asm.R3, 12)
	a.add(asm.RSh.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 6, "done"), asm.Add.Imm(asm.R3, 48), asm.And.Imm(asm.R3, 0xffff), asm.JNE.Reg(asm.R2, asm.R3, "done"))
	a.load(16, 20)
	a.u32(asm.R1, 0)
	a.u32(asm.R2, 16)
	a.add(asm.Mov.Imm(rNext, iana.EtherIPv6), asm.Add.Imm(rPos, 8), asm.JEq.Imm(asm.R1, 0x20010000, "loop"), asm.JEq.Imm(asm.R2, 0x20010000, "loop"),
		asm.Ja.Label("done"))

	a.at("gre in udp")
	a.become(nextUpper+iana.ProtoGRE, 8)
	a.at("mpls in udp")
	a.become(iana.EtherMPLS, 8)
	a.at("lisp")
	a.become(nextRaw, 16)

	a.at("vxlan-gpe")
	a.u8(asm.R4, 11) // 0 if nothing is said of what follows
	a.add(asm.Ja.Label("vxlan flags"))
	a.at("vxlan")
	a.add(asm.Mov.Imm(asm.R4, 0))
	a.at("vxlan flags")
	a.u8(asm.R1, 8)
	a.u8(asm.R2, 15)
	a.u8(asm.R3, 11)
	a.add(asm.Mov.Reg(asm.R5, asm.R1), asm.And.Imm(asm.R5, 0x78), asm.JNE.Imm(asm.R5, 8, "done"), asm.JNE.Imm(asm.R2, 0, "done"),
		asm.Add.Imm(rPos, 16), asm.And.Imm(asm.R1, 4), asm.JNE.Imm(asm.R1, 0, "registry"), asm.JNE.Imm(asm.R4, 0, "registry"))
	a.become(iana.EtherTEB, 0)

	a.at("l2tp")
	a.u8(asm.R1, 8)
	a.u8(asm.R2, 9)
	a.add(asm.JNE.Imm(asm.R2, 2, "done"), asm.Mov.Reg(asm.R2, asm.R1), asm.And.Imm(asm.R2, 0xb4), asm.JNE.Imm(asm.R2, 0, "done"),
		asm.Add.Imm(rPos, 14),
		asm.Mov.Reg(asm.R2, asm.R1), asm.RSh.Imm(asm.R2, 6), asm.And.Imm(asm.R2, 1), asm.LSh.Imm(asm.R2, 1), asm.Add.Reg(rPos, asm.R2),
		asm.Mov.Reg(asm.R2, asm.R1), asm.RSh.Imm(asm.R2, 3), asm.And.Imm(asm.R2, 1), asm.LSh.Imm(asm.R2, 2), asm.Add.Reg(rPos, asm.R2),
		asm.Mov.Imm(rNext, iana.EtherPPP), asm.And.Imm(asm.R1, 2), asm.JEq.Imm(asm.R1, 0, "loop"))
	a.load(0, 2)
	a.u16(asm.R1, 0)
	a.add(asm.Add.Reg(rPos, asm.R1))
	a.move(2)

	a.at("teredo")
	a.u8(asm.R1, 10)
	a.u8(asm.R2, 11)
	a.u16(asm.R3, 8)
	a.add(asm.Add.Imm(rPos, 8), asm.JNE.Imm(asm.R3, 1, "origin"), asm.Add.Imm(rPos, 13), asm.Add.Reg(rPos, asm.R1), asm.Add.Reg(rPos, asm.R2))
	a.at("origin")
	a.load(0, 2)
	a.u16(asm.R1, 0)
	a.add(asm.Mov.Imm(rNext, iana.EtherIPv6), asm.JNE.Imm(asm.R1, 0, "loop"))
	a.move(8)

	a.at("geneve")
	a.u8(asm.R1, 8)
	a.u8(asm.R2, 9)
	a.u16(asm.R3, 10)
	a.u8(asm.R4, 15)
	a.add(asm.JNE.Imm(asm.R4, 0, "done"), asm.JGT.Imm(asm.R1, 0x3f, "done"), asm.JGT.Imm(asm.R2, 0x7f, "done"), asm.LSh.Imm(asm.R1, 2),
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
